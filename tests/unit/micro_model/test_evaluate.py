"""The evaluation plays what it says to a model, and counts what the model writes.

The model is a fake that writes what a test tells it, so that every figure is known.
"""

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tools.micro_model import evaluate
from tools.micro_model.clips import Clip, save_set
from tools.micro_model.evaluate import Evaluation, Spoken, padded, through

SECOND = 16000


class FakeModel:
    """Writes what `answer` says for each call, and keeps the calls."""

    def __init__(self, answer: Callable[..., str]) -> None:
        self.answer = answer
        self.calls: list[dict[str, Any]] = []
        self.words: list[Any] = []
        self.language = "en"

    def transcribe(self, samples: np.ndarray, **options: Any) -> tuple[Any, Any]:
        self.calls.append({"samples": samples, **options})
        text = self.answer(**options)
        segment = SimpleNamespace(text=text, words=self.words, start=0.2, end=1.5)
        return iter([segment] if text else []), SimpleNamespace(language=self.language)


def evaluation(answer: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> Evaluation:
    monkeypatch.setattr(evaluate, "WhisperModel", lambda *_, **__: FakeModel(answer))
    return Evaluation(Path("model"), threads=1)


def spoken(language: str = "en", text: str = "Good morning.", english: str = "Good morning.",
           hertz: float = 440) -> Spoken:  # fmt: skip
    """Return a second of a tone; its second word begins in the middle."""
    tone = np.sin(2 * np.pi * hertz * np.arange(SECOND) / SECOND).astype(np.float32) / 2
    marks = [(0, 0), (text.index(" ") + 1, SECOND // 2), (len(text), SECOND)]
    return Clip(language, text, english, "somebody", marks, 0, SECOND), tone


def word(start: float) -> Any:
    return SimpleNamespace(start=start)


def test_a_sentence_that_is_right_counts_with_its_language_and_word_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = evaluation(lambda **_: " good morning", monkeypatch)
    # 0.3 s of silence come first; the first word has them, as ever, and tells nothing of the weights.
    measured.model.words = [word(0.0), word(0.9)]
    measured.single([spoken()])
    tally = measured.tallies["one sentence, en"]
    assert (tally.errors, tally.words, tally.right) == (0, 2, 1)
    assert tally.times == [pytest.approx(0.1)]
    assert measured.tallies["language right"].right == 1
    assert "translation" not in measured.tallies, "English needs none"


def test_a_sentence_that_is_wrong_tells_nothing_about_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = evaluation(lambda **_: " good evening", monkeypatch)
    measured.model.words, measured.model.language = [word(0.3), word(0.8)], "de"
    measured.single([spoken()])
    tally = measured.tallies["one sentence, en"]
    assert (tally.errors, tally.right, tally.times) == (1, 0, [])
    assert measured.tallies["language right"].right == 0


def test_other_languages_are_translated_too(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = {"transcribe": "Guten Morgen.", "translate": "Good evening."}
    measured = evaluation(lambda task, **_: texts[task], monkeypatch)
    measured.model.language = "de"
    measured.single([spoken("de", "Guten Morgen.")])
    assert measured.tallies["one sentence, de"].right == 1
    assert (measured.tallies["translation"].errors, measured.tallies["translation"].words) == (1, 2)
    assert measured.model.calls[1]["language"] == "de", "the language is told, the task is measured"


def test_a_sentence_is_heard_on_six_ways_that_do_what_they_say(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = evaluation(lambda **_: "Good morning.", monkeypatch)
    clip, tone = spoken(hertz=6000)
    measured.spoiled([(clip, tone)])
    assert {name: tally.error for name, tally in measured.tallies.items()} == {
        f"way: {way}": 0.0
        for way in ("clean", "noise at 10 dB", "telephone, u-law", "MP3 at 24 kbit/s", "clipped", "very quiet")
    }  # fmt: skip
    clean, noisy, telephone, mp3, clipped, quiet = (c["samples"] for c in measured.model.calls)
    power = float((tone**2).mean())
    assert float(((noisy - clean) ** 2).mean()) == pytest.approx(power / 10, rel=0.05)
    assert float((telephone**2).mean()) < power / 100, "6 kHz do not pass"
    assert len(mp3) >= len(clean)
    assert np.abs(clipped).max() == np.float32(0.12)
    assert np.abs(quiet).max() == pytest.approx(0.005, abs=1 / 32768)


def test_long_files_are_90_s_of_one_language_without_and_with_the_text_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    measured = evaluation(lambda **_: "Hello there.", monkeypatch)
    texts = {
        "en": "Good morning.",
        "de": "Guten Morgen.",
        "fr": "Bonjour tous.",
        "es": "Buenos días.",
    }
    measured.long([spoken(*item) for item in texts.items()], random.Random(1))
    calls = measured.model.calls
    assert [call["condition_on_previous_text"] for call in calls] == [False, True] * 4
    for call in calls:
        assert 90 * SECOND <= len(call["samples"]) < 93 * SECOND
    for language in texts:
        for name in ("long", "long, conditioned"):
            tally = measured.tallies[f"{name}, {language}"]
            assert tally.error == 1.0
            assert 90 < tally.words < 2 * 90 / 1.3  # a second each, and a pause of 0.3 to 1 s


def test_text_where_nothing_is_said_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = evaluation(lambda **_: "Thank you.", monkeypatch)
    measured.silent(3)
    for name in ("silence", "noise", "tones"):
        tally = measured.tallies[f"nothing said: {name}"]
        assert (tally.errors, tally.right, tally.sentences) == (6, 0, 3)
    silent = measured.model.calls[0]["samples"]
    assert len(silent) == 20 * SECOND
    assert not silent.any()


def test_recordings_are_measured_by_kind_and_long_and_hard_ones_twice(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured = evaluation(lambda **_: "Good morning.", monkeypatch)
    sentence = {"start": 0.1, "end": 1.8, "text": "Good morning."}
    files = (
        "short/en-1.wav",
        "formats/three.mp3",
        "long/en.flac",
        "hard/quiet.wav",
        "dialogue/two.wav",
    )
    truth = [{"file": file, "language": "en", "sentences": [sentence]} for file in files]
    (tmp_path / "truth.json").write_text(json.dumps(truth))
    monkeypatch.setattr(evaluate, "decode_audio", lambda path: np.zeros(10, np.float32))
    measured.recordings(tmp_path)
    assert list(measured.tallies) == [
        "short, en",
        "formats, en",
        "long/en.flac",
        "long/en.flac conditioned",
        "hard/quiet.wav",
        "hard/quiet.wav conditioned",
    ]
    assert measured.tallies["short, en"].times == [pytest.approx(0.1), pytest.approx(0.3)]
    assert all(tally.right == 1 for tally in measured.tallies.values())
    assert [c["condition_on_previous_text"] for c in measured.model.calls].count(True) == 2


def test_the_table_has_a_row_for_each_tally(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = evaluation(lambda **_: "", monkeypatch)
    measured.tallies["one sentence, en"].add("a b c d", "a b c")
    assert measured.table().splitlines() == [
        "| sound | word error |",
        "|---|---|",
        "| one sentence, en | 0.250 of 4 words, 0/1 right |",
    ]


def test_a_codec_keeps_what_is_said_where_it_is() -> None:
    _, tone = spoken()
    heard = through(padded(tone), "wav", "pcm_mulaw", 8000)
    assert len(heard) == pytest.approx(len(tone) + 2 * 0.3 * SECOND, abs=400)
    assert np.abs(heard[: int(0.28 * SECOND)]).max() < 0.01
    assert np.corrcoef(heard[SECOND // 2 : SECOND], padded(tone)[SECOND // 2 : SECOND])[0, 1] > 0.99


def test_a_hundred_sentences_of_each_language_are_measured_half_of_them_on_bad_ways(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, int] = {}

    class Recorder(Evaluation):
        def single(self, clips: list[Spoken]) -> None:
            asked["single"] = len(clips)

        def spoiled(self, clips: list[Spoken]) -> None:
            asked["spoiled"] = len(clips)

        def long(self, clips: list[Spoken], rng: random.Random) -> None:
            asked["long"] = len(clips)

        def silent(self, count: int) -> None:
            asked["silent"] = count

    monkeypatch.setattr(evaluate, "WhisperModel", lambda *_, **__: FakeModel(lambda **_: ""))
    monkeypatch.setattr(evaluate, "Evaluation", Recorder)
    some = [Clip("en", "Yes.", "Yes.", "en", [(0, 0), (4, 1)], 0, 1)] * 500
    save_set(tmp_path / "77-0", some, np.zeros(1, np.int16))
    monkeypatch.setattr(sys, "argv", ["evaluate", "model", "--unseen", str(tmp_path)])
    evaluate.main()
    assert asked == {"single": 400, "spoiled": 200, "long": 500, "silent": 5}
    assert capsys.readouterr().out.startswith("| sound | word error |")
