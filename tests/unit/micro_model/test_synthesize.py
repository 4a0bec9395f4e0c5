"""Sets are made of what is spoken: each language in turn, and the evaluation's sentences apart.

The voice is a fake, but its module needs soxr, which the services do not: skipped where it is missing.
"""

import random
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from tools.micro_model.clips import load_set
from tools.micro_model.grammar import is_unseen

pytest.importorskip("soxr")

from tools.micro_model import synthesize
from tools.micro_model.voices import Speech

SECOND = 16000


class Voice:
    """Says a constant, another one each time, as long as `sizes` say in turn."""

    def __init__(self, sizes: list[int]) -> None:
        self.sizes = sizes
        self.said: list[tuple[str, str, bool]] = []

    def speak(self, text: str, language: str, rng: random.Random, *, unheard: bool) -> Speech:
        size = self.sizes[len(self.said) % len(self.sizes)]
        self.said.append((text, language, unheard))
        samples = np.full(size, len(self.said) / 1000, np.float32)
        return Speech(samples, [(0, 0), (len(text), size)], f"voice {len(self.said)}")


@pytest.fixture
def voice(monkeypatch: pytest.MonkeyPatch) -> Voice:
    fake = Voice([SECOND, SECOND // 2])
    monkeypatch.setattr(synthesize, "speak", fake.speak)
    return fake


def test_each_language_is_spoken_in_turn_and_each_clip_has_its_samples(
    voice: Voice, tmp_path: Path
) -> None:
    synthesize.make_set(tmp_path / "set", clips=8, seed=3)
    made = list(load_set(tmp_path / "set"))
    assert [clip.language for clip, _ in made] == ["en", "de", "fr", "es"] * 2
    for number, ((clip, samples), (text, language, unheard)) in enumerate(
        zip(made, voice.said, strict=True), 1
    ):
        assert (clip.text, clip.language, clip.voice) == (text, language, f"voice {number}")
        assert not unheard
        assert clip.marks[-1] == [len(text), len(samples)]
        assert len(samples) == (SECOND if number % 2 else SECOND // 2)
        assert set(samples.tolist()) == {int(np.float32(number / 1000) * 32767)}
        if language == "en":
            assert clip.english == text


def test_what_the_training_hears_and_what_the_evaluation_hears_are_apart(
    voice: Voice, tmp_path: Path
) -> None:
    synthesize.make_set(tmp_path / "seen", clips=200, seed=3)
    synthesize.make_set(tmp_path / "unseen", clips=20, seed=3, unseen=True)
    assert [unheard for *_, unheard in voice.said] == [False] * 200 + [True] * 20
    seen, unseen = (
        [clip.english for clip, _ in load_set(tmp_path / name)] for name in ("seen", "unseen")
    )
    assert not any(is_unseen({"en": english}) for english in seen)
    assert all(is_unseen({"en": english}) for english in unseen)


def test_practice_has_only_what_is_asked_for_in_every_language(
    voice: Voice, tmp_path: Path
) -> None:
    synthesize.make_set(tmp_path / "set", clips=12, seed=3, matching="fifteen|fifty")
    made = [clip for clip, _ in load_set(tmp_path / "set")]
    assert {"fifteen" in clip.english or "fifty" in clip.english for clip in made} == {True}
    assert [clip.language for clip in made] == ["en", "de", "fr", "es"] * 3


def test_practice_for_what_nobody_says_is_refused(
    voice: Voice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(synthesize, "MOST_REFUSED", 2000)
    synthesize.make_set(tmp_path / "set", clips=40, seed=3, matching="^Where")
    with pytest.raises(synthesize.NothingMatches, match="none matches 'elephant'"):
        synthesize.make_set(tmp_path / "none", clips=1, seed=3, matching="elephant")
    assert not list(tmp_path.glob("none*"))


def test_speech_of_an_unlikely_length_is_left_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    fake = Voice([SECOND // 6, SECOND, 13 * SECOND])
    monkeypatch.setattr(synthesize, "speak", fake.speak)
    synthesize.make_set(tmp_path / "set", clips=4, seed=3)
    made = list(load_set(tmp_path / "set"))
    assert [len(samples) for _, samples in made] == [SECOND] * 4
    assert [clip.language for clip, _ in made] == ["en", "de", "fr", "es"], "none is passed over"


def test_a_seed_makes_the_same_sentences_again_and_another_one_others(
    voice: Voice, tmp_path: Path
) -> None:
    texts = []
    for number, seed in enumerate((3, 3, 4)):
        synthesize.make_set(tmp_path / str(number), clips=8, seed=seed)
        texts.append([clip.text for clip, _ in load_set(tmp_path / str(number))])
    assert texts[0] == texts[1] != texts[2]


def test_a_large_order_is_divided_into_files_of_different_sentences(
    voice: Voice, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(synthesize, "PER_FILE", 4)
    monkeypatch.setattr(synthesize, "ProcessPoolExecutor", lambda: ThreadPoolExecutor(1))
    folder = tmp_path / "new" / "clips"
    monkeypatch.setattr(sys, "argv", ["synthesize", str(folder), "--clips", "9", "--seed", "77"])
    synthesize.main()
    sets = [list(load_set(path)) for path in sorted(folder.glob("*.npy"))]
    assert sorted(path.stem for path in folder.glob("*.jsonl")) == ["77-0", "77-1", "77-2"]
    assert [len(clips) for clips in sets] == [4, 4, 1]
    assert [clip.text for clip, _ in sets[0]] != [clip.text for clip, _ in sets[1]]
