"""A training goes by the clock: rates rise, then fall, and the checkpoint is written as it goes.

The learner is a fake, so that no step takes time. Needs PyTorch, which the services do not: skipped
where it is not installed.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from tools.micro_model import train  # noqa: E402
from tools.micro_model.batches import Schedule  # noqa: E402


class Clock:
    """A schedule of so many steps."""

    start = 0.0

    def __init__(self, steps: int) -> None:
        self.steps, self.asked = steps, -1

    def progress(self) -> float:
        self.asked += 1
        return self.asked / self.steps


class Learner:
    """Keeps the rates of its steps."""

    def __init__(self) -> None:
        self.model, self.spoken = torch.nn.Linear(1, 1), torch.nn.Linear(1, 1)
        self.rates: list[float] = []
        self.rate = 0.0

    def learn(self, batch: int, rate: float) -> str:
        self.rates.append(rate)
        self.rate = rate
        return f"text {batch}"


class Endless(torch.utils.data.IterableDataset):  # type: ignore[misc]
    """Batches that are numbers, beginning with the seed that was asked for."""

    def __init__(self, clips: Any, seed: int, schedule: Any, scale: int) -> None:
        self.seed = seed

    def __iter__(self) -> Iterator[int]:
        return iter(range(self.seed, self.seed + 10_000))


@pytest.fixture
def saved(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Where checkpoints were written; and nothing is read, drawn or set for other tests."""
    paths: list[Path] = []
    monkeypatch.setattr(train, "Batches", Endless)
    monkeypatch.setattr(train, "save_checkpoint", lambda path, *_: paths.append(path))
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    return paths


def options(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> argparse.Namespace:
    monkeypatch.setattr(sys, "argv", ["train", "clips", "out.pt", *arguments])
    return train._options()


def test_a_command_line_of_two_paths_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = options(monkeypatch)
    assert (chosen.clips, chosen.out, chosen.init) == (Path("clips"), Path("out.pt"), None)
    assert chosen.workers >= 1
    assert chosen.loaders >= 1
    assert chosen.full_from <= chosen.full_to


def test_what_the_makefile_hands_on_is_understood(monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = options(
        monkeypatch, *["--minutes", "0.1", "--init", "a.pt", "--lr", "5e-4", "--muon", "1.8e-3"]
    )
    assert (chosen.minutes, chosen.init) == (0.1, Path("a.pt"))
    assert (chosen.lr, chosen.muon) == (5e-4, 1.8e-3)


def test_rates_rise_then_fall_with_the_time_that_is_left(
    monkeypatch: pytest.MonkeyPatch, saved: list[Path]
) -> None:
    learner = Learner()
    chosen = options(monkeypatch, "--warmup", "10", "--decay", "0.5")
    train._work(0, learner, [], Clock(100), chosen)
    assert len(learner.rates) == 100
    assert learner.rates[:3] == pytest.approx([0.1, 0.2, 0.3])
    assert learner.rates[9:51] == [1.0] * 42, "half of the time at the highest rate"
    assert learner.rates[75] == pytest.approx(0.5)
    assert learner.rates[51:] == sorted(learner.rates[51:], reverse=True)
    assert 0.003 <= learner.rates[-1] < 0.03


def test_the_first_process_saves_as_it_goes_and_at_the_end(
    monkeypatch: pytest.MonkeyPatch, saved: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    train._work(0, Learner(), [], Clock(250), options(monkeypatch))
    assert saved == [Path("out.pt")] * 3, "after 100 and 200 steps, and at the end"
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 12, "a line in 20 steps"
    assert lines[0].startswith("20 steps ")
    assert lines[0].endswith("text 119"), "the seed's batches"


def test_the_other_processes_draw_other_batches_and_save_nothing(
    monkeypatch: pytest.MonkeyPatch, saved: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    learner, batches = Learner(), list[int]()
    monkeypatch.setattr(learner, "learn", lambda batch, rate: batches.append(batch))
    train._work(3, learner, [], Clock(150), options(monkeypatch, "--seed", "2"))
    assert (batches[0], len(batches)) == (203, 150)
    assert saved == []
    assert capsys.readouterr().out == ""


def test_a_training_without_time_saves_what_it_began_with(
    monkeypatch: pytest.MonkeyPatch, saved: list[Path]
) -> None:
    learner = Learner()
    train._work(0, learner, [], Schedule(0, 1, (0.3, 0.8)), options(monkeypatch))
    assert learner.rates == []
    assert saved == [Path("out.pt")]
