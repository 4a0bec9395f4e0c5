"""Batches are of windows of one length, as the schedule wants them, and padded where they differ.

Needs PyTorch, which the services do not: skipped where it is not installed.
"""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from tools.micro_model import tokens
from tools.micro_model.clips import Clip, load_set, save_set
from tools.micro_model.windows import IGNORED, Window

pytest.importorskip("torch")

import torch

from tools.micro_model import batches
from tools.micro_model.batches import Batch, Batches, Schedule, as_batch

SECOND = 16000
SENTENCES = {"en": "Good morning.", "de": "Guten Morgen.", "fr": "Bonjour.", "es": "Buenos días."}
SIZES = {int(seconds * SECOND): count for seconds, count in (*batches.SHORT, batches.FULL)}


@pytest.fixture
def clips(tmp_path: Path) -> list[tuple[Clip, np.ndarray]]:
    """Four clips of a second of noise."""
    noise = np.random.default_rng(1).integers(-9000, 9000, SECOND).astype(np.int16)
    made = [
        Clip(code, text, "Good morning.", code, [(0, 0), (4, 6000), (len(text), SECOND)], 0, SECOND)
        for code, text in SENTENCES.items()
    ]
    save_set(tmp_path / "set", made, noise)
    return list(load_set(tmp_path / "set"))


def at(
    progress: float, monkeypatch: pytest.MonkeyPatch, full_share: tuple[float, float]
) -> Schedule:
    """Return a schedule of 100 s that is so far."""
    monkeypatch.setattr(batches.time, "time", lambda: 1000 + 100 * progress)
    return Schedule(1000, 1100, full_share)


def drawn(
    clips: list[tuple[Clip, np.ndarray]], schedule: Schedule, count: int, **options: int
) -> list[Batch]:
    return list(islice(Batches(clips, **{"seed": 1, **options}, schedule=schedule), count))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of one or two windows, so that many can be drawn."""
    monkeypatch.setattr(batches, "SHORT", ((8.0, 2), (10.0, 2), (13.0, 1)))
    monkeypatch.setattr(batches, "FULL", (30.0, 1))


def test_progress_goes_by_the_clock_and_never_beyond_the_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for now, far in ((-0.5, 0), (0, 0), (0.25, 0.25), (1, 1), (3, 1)):
        assert at(now, monkeypatch, (0, 1)).progress() == far


def test_batches_have_windows_of_one_length_of_about_the_same_cost(
    clips: list[tuple[Clip, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    for batch in drawn(clips, at(0.5, monkeypatch, (0.3, 0.8)), 6):
        windows, size = batch.samples.shape
        assert windows == SIZES[size]
        assert 0 <= batch.offset <= 1500 - size // 320
        assert batch.inputs.shape == batch.targets.shape == batch.places.shape[:2]
        assert len(batch.sizes) == len(batch.inputs) == windows


def test_a_scale_makes_batches_so_many_times_larger(
    clips: list[tuple[Clip, np.ndarray]], monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    (batch,) = drawn(clips, at(0, monkeypatch, (1, 1)), 1, scale=3)
    assert batch.samples.shape == (3, 30 * SECOND)


@pytest.mark.parametrize(("progress", "full"), [(0.0, 0.0), (0.5, 0.5), (1.0, 1.0)])
def test_the_share_of_full_windows_goes_from_its_begin_to_its_end(
    clips: list[tuple[Clip, np.ndarray]], monkeypatch: pytest.MonkeyPatch, quick: None,
    progress: float, full: float,
) -> None:  # fmt: skip
    monkeypatch.setattr(batches, "DECODER_ONLY_SHARE", 0.0)
    made = drawn(clips, at(progress, monkeypatch, (0.0, 1.0)), 60)
    share = sum(batch.samples.shape[1] == 30 * SECOND for batch in made) / len(made)
    assert share == pytest.approx(full, abs=0.2)
    if full in (0.0, 1.0):
        assert share == full


def test_steps_of_the_decoder_alone_are_of_full_windows_and_a_quarter_of_all(
    clips: list[tuple[Clip, np.ndarray]], monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    made = drawn(clips, at(0, monkeypatch, (0.0, 0.0)), 100)
    assert 10 <= sum(batch.decoder_only for batch in made) <= 40
    for batch in made:
        assert batch.decoder_only == (batch.samples.shape[1] == 30 * SECOND)


def test_steps_of_the_decoder_alone_are_translated_and_prompted_as_they_are_to_be(
    clips: list[tuple[Clip, np.ndarray]], monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    monkeypatch.setattr("tools.micro_model.windows.NOTHING_SHARE", 0.0)
    for name in ("DECODER_ONLY_PROMPTS", "DECODER_ONLY_TRANSLATE"):
        monkeypatch.setattr(batches, name, 1.0)
    for name in ("PROMPT_SHARE", "TRANSLATE_SHARE"):
        monkeypatch.setattr(batches, name, 0.0)
    english = tokens.Tokens().languages["en"]
    for batch in drawn(clips, at(0, monkeypatch, (0.0, 0.0)), 30):
        for row in batch.inputs:
            translated = tokens.TRANSLATE in row or english in row  # which needs no translation
            assert (tokens.PREVIOUS in row) == batch.decoder_only
            assert translated if batch.decoder_only else tokens.TRANSLATE not in row


def test_all_windows_of_a_batch_have_a_prompt_or_none_has(
    clips: list[tuple[Clip, np.ndarray]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.micro_model.windows.NOTHING_SHARE", 0.0)
    monkeypatch.setattr(batches, "SHORT", ((8.0, 6),))
    monkeypatch.setattr(batches, "DECODER_ONLY_SHARE", 0.0)
    kinds = set()
    for batch in drawn(clips, at(0, monkeypatch, (0, 0)), 12):
        (kind,) = {bool(first == tokens.PREVIOUS) for first in batch.inputs[:, 0]}
        kinds.add(kind)
    assert kinds == {True, False}


def test_short_windows_are_put_anywhere_in_the_30_s(
    clips: list[tuple[Clip, np.ndarray]], monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    offsets = [batch.offset for batch in drawn(clips, at(0, monkeypatch, (0, 0)), 60)]
    assert 6 < offsets.count(0) < 45
    assert max(offsets) > 700
    assert len(set(offsets)) > 10


def test_a_seed_draws_the_same_batches_again_and_another_one_others(
    clips: list[tuple[Clip, np.ndarray]], monkeypatch: pytest.MonkeyPatch, quick: None
) -> None:
    schedule = at(0, monkeypatch, (0, 0))
    first, again, other = (drawn(clips, schedule, 3, seed=seed) for seed in (1, 1, 2))
    for one, same in zip(first, again, strict=True):
        assert one.samples.equal(same.samples)
        assert one.inputs.equal(same.inputs)
    assert any(
        one.samples.shape != another.samples.shape or not one.samples.equal(another.samples)
        for one, another in zip(first, other, strict=True)
    )


def test_rows_are_filled_up_with_what_costs_nothing() -> None:
    sound = np.zeros(2 * SECOND, np.float32)
    long = Window(sound, 100, [5, 6, 7], [6, 7, tokens.END], [None, (-4, 2), (80, 200)], [6, 7])
    short = Window(sound, 2 * SECOND, [5], [tokens.END], [None], None)
    batch = as_batch([long, short], offset=3)
    assert batch.inputs.tolist() == [[5, 6, 7], [5, tokens.END, tokens.END]]
    assert batch.targets.tolist() == [[6, 7, tokens.END], [tokens.END, IGNORED, IGNORED]]
    unknown = [-1, -1]
    # 2 s are 100 positions: places are kept inside them, and never empty.
    assert batch.places.tolist() == [[unknown, [0, 3], [80, 99]], [unknown] * 3]
    assert batch.spoken == [(0, [6, 7])], "of a sentence that is cut the words are not known"
    assert batch.sizes.tolist() == [100, 2 * SECOND]
    assert (batch.offset, batch.decoder_only) == (3, False)


def test_a_row_is_never_longer_than_whispers_context() -> None:
    many = list(range(500))
    window = Window(np.zeros(SECOND, np.float32), SECOND, many, many, [None] * 500, None)
    assert as_batch([window], 0).inputs.shape == (1, 448)


def test_some_earlier_words_are_mistaken_and_nothing_else() -> None:
    row = [tokens.PREVIOUS, 500, tokens.START, tokens.FIRST_LANGUAGE, tokens.FIRST_TIMESTAMP]
    row += [*range(600, 640), tokens.FIRST_TIMESTAMP + 50, tokens.END]
    inputs = torch.tensor([row] * 400)
    heard = batches.mistaken(inputs, torch.Generator().manual_seed(1))
    changed = heard != inputs
    assert not changed[inputs >= tokens.END].any()
    assert set(heard[changed].tolist()) <= {500, *range(600, 640)}
    share = batches.MISTAKEN_TOKENS * batches.MISTAKEN_WINDOWS
    assert 0.6 * share < float(changed[inputs < tokens.END].float().mean()) <= 1.2 * share
    assert 0.3 < float(changed.any(1).float().mean()) < 0.7


def test_where_nothing_is_said_nothing_can_be_mistaken() -> None:
    inputs = torch.full((3, 4), tokens.END)
    assert torch.equal(batches.mistaken(inputs, torch.Generator().manual_seed(1)), inputs)
