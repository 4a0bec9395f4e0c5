"""Set-ups of the scheduler for tests: clips, a step under control, schedulers that run or stand still."""

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from worker.scheduler import Report, Scheduler


@dataclass(frozen=True)
class Clip:
    """A job of the scheduler's; see its `Job`."""

    name: str
    audio_seconds: float = 10.0
    key: str = "same"
    is_whole: bool = True
    is_apart: bool = False
    weight: int = 1
    share: float = 1.0

    @property
    def description(self) -> str:
        return self.name


def clips(prefix: str, count: int, seconds: float = 10.0, key: str = "same") -> list[Clip]:
    """So many clips, numbered from 0."""
    return [Clip(f"{prefix}{n}", seconds, key) for n in range(count)]


class Engine:
    """A step under the test's control: it can be held, and fails on request."""

    def __init__(self, fail: Callable[[list[Clip]], Exception | None] = lambda batch: None) -> None:
        self.batches: list[list[str]] = []
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()
        self.gate.set()
        self._fail = fail

    def step(self, batch: list[Clip]) -> Sequence[str]:
        self.batches.append([clip.name for clip in batch])
        self.entered.release()
        assert self.gate.wait(30)
        if (error := self._fail(batch)) is not None:
            raise error
        return [f"text of {clip.name}" for clip in batch]


def running(
    engine: Engine,
    *,
    workers: int = 1,
    max_batch_size: int = 4,
    max_requests: int = 64,
    max_queue_seconds: float = 1e9,
    hooks: Sequence[Callable[[Report], None]] = (),
    clock: Callable[[], float] = lambda: 0.0,
) -> Scheduler[Clip, str]:
    """A scheduler with its threads, which the test closes."""
    scheduler = Scheduler[Clip, str](
        engine.step,
        workers=workers,
        max_batch_size=max_batch_size,
        max_requests=max_requests,
        max_queue_seconds=max_queue_seconds,
        hooks=hooks,
        clock=clock,
    )
    scheduler.start()
    return scheduler


def standing(
    window_seconds: float, *, clock: Callable[[], float] = lambda: 0.0, **bounds: int
) -> Scheduler[Clip, str]:
    """A scheduler that was not started, so that it stands still; a window takes so long."""
    scheduler = Scheduler[Clip, str](Engine().step, clock=clock, **bounds)
    scheduler.learn(window_seconds)
    return scheduler
