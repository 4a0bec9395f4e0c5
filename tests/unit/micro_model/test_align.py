"""Alignment heads are those that tell word starts best, found one by one, and are kept in the config."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import WhisperModel, decode_audio
from house import DATA

from tools.micro_model import align
from tools.micro_model.align import Aligner, Heads, choose_heads, store_heads, stored_heads
from tools.micro_model.clips import Clip
from tools.micro_model.evaluate import LEAD


class Measured(Aligner):
    """An aligner whose errors are known: one for each set of heads, 1 s for the others."""

    def __init__(self, errors: dict[tuple[tuple[int, int], ...], float]) -> None:
        self.errors = errors

    def error(self, heads: Heads) -> float:
        return self.errors.get(tuple(sorted((layer, head) for layer, head in heads)), 1.0)


def test_the_best_head_is_joined_by_others_as_long_as_the_error_falls() -> None:
    a, b, c = (0, 1), (1, 0), (1, 1)
    aligner = Measured(
        {(a,): 0.3, (b,): 0.2, (c,): 0.25, (a, b): 0.1, (b, c): 0.15, (a, b, c): 0.1}
    )
    assert choose_heads(aligner, layers=2, heads=2) == ([[1, 0], [0, 1]], 0.1)


def test_a_head_that_makes_it_worse_is_not_taken() -> None:
    assert choose_heads(Measured({((1, 1),): 0.04}), layers=2, heads=2) == ([[1, 1]], 0.04)


def test_all_heads_are_taken_where_each_helps() -> None:
    aligner = Measured({((0, 0),): 0.3, ((0, 0), (1, 0)): 0.2})
    assert choose_heads(aligner, layers=2, heads=1) == ([[0, 0], [1, 0]], 0.2)


def test_heads_are_stored_sorted_beside_the_other_settings(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"suppress_ids": [1], "alignment_heads": [[3, 1]]}')
    store_heads(tmp_path, [[2, 1], [1, 0]])
    assert json.loads((tmp_path / "config.json").read_text()) == {
        "suppress_ids": [1],
        "alignment_heads": [[1, 0], [2, 1]],
    }


def test_heads_that_are_stored_are_read_back(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"alignment_heads": null}')
    assert stored_heads(tmp_path) == []
    store_heads(tmp_path, [[2, 1], [1, 0]])
    assert stored_heads(tmp_path) == [[1, 0], [2, 1]]


@pytest.mark.parametrize(
    ("stored", "kept"), [([[0, 1]], [[0, 1]]), ([[0, 0]], [[1, 0]]), ([], [[1, 0]])]
)
def test_heads_that_are_there_stay_unless_better_ones_are_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stored: Heads, kept: Heads
) -> None:
    errors = {((1, 0),): 0.05, ((0, 1),): 0.04}
    (tmp_path / "config.json").write_text(json.dumps({"alignment_heads": stored}))
    monkeypatch.setattr(align, "Aligner", lambda model, clips: Measured(errors))
    monkeypatch.setattr(align, "load_set", lambda path: [(None, np.zeros(1))] * 401)
    monkeypatch.setattr(align, "choose_heads", lambda *_: ([[1, 0]], 0.05))
    monkeypatch.setattr(align, "read_model", lambda path: None)
    monkeypatch.setattr(align, "to_reference", lambda model: None)
    monkeypatch.setattr(align, "dimensions", lambda names: {"n_text_layer": 2, "n_text_head": 2})
    (tmp_path / "clips.npy").touch()
    arguments = ["align", str(tmp_path), "--unseen", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    align.main()
    assert stored_heads(tmp_path) == kept


def test_a_words_error_is_that_of_its_first_token(micro: Path) -> None:
    aligner = Aligner(micro, [])
    # " Good" from the beginning, " morning" told at 0.5 s, "." of that word; LEAD is silence before.
    clip = Clip(
        "en", "Good morning.", "Good morning.", "en", [(0, 0), (5, 8000), (13, 16000)], 0, 1
    )
    text = aligner.tokens.encode(clip.text)
    lead = round(LEAD / 0.02)
    path = [(0, lead), (1, lead + 30), (1, lead + 40), (2, lead + 45)]
    assert list(aligner._errors(clip, text, path)) == [pytest.approx(0.1)]
    assert list(aligner._errors(clip, text, path[:1])) == [], "the word was not aligned"
    inside = Clip("en", "Good morning.", "Good morning.", "en", [(0, 0), (7, 1), (13, 2)], 0, 1)
    assert list(aligner._errors(inside, text, path)) == [], "no token begins there"


def test_the_heads_that_ship_tell_words_better_than_another_one(
    micro: Path, tmp_path: Path
) -> None:
    samples = decode_audio(str(DATA / "short" / "en-1.wav"))
    model = WhisperModel(str(micro), device="cpu", compute_type="int8", cpu_threads=1)
    segments, _ = model.transcribe(samples, word_timestamps=True, condition_on_previous_text=False)
    words = [word for segment in segments for word in segment.words or []]
    text, marks = "", list[tuple[int, int]]()
    for word in words:
        marks.append((len(text), int(word.start * 16000)))
        text += word.word.lstrip() + " "
    marks = [(0, 0), *marks[1:], (len(text) - 1, len(samples))]
    assert len(marks) > 4
    clip = Clip("en", text[:-1], text[:-1], "en", marks, 0, len(samples))
    folder = tmp_path / "model"
    shutil.copytree(micro, folder)
    shipped = json.loads((micro / "config.json").read_text())["alignment_heads"]
    aligner = Aligner(folder, [(clip, np.asarray(samples))])
    error = aligner.error(shipped)
    assert error < 0.1
    assert json.loads((folder / "config.json").read_text())["alignment_heads"] == sorted(shipped)
    assert error < max(aligner.error([[0, head]]) for head in (0, 1))
