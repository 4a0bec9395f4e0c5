"""Runs one batch: times it, halves it when it is too large, and looks for the culprit when it fails.

A failure is looked into member by member, so that one bad window harms nobody else. Only exceptions
of the step are caught; what ends a thread passes through.
"""

import logging
import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Generic

from .batch_limit import BatchLimit
from .lane import R
from .queue import Entry, J
from .reports import Report, StepReport
from .speed import Speed
from .watchdog import Watchdog

log = logging.getLogger(__name__)

PAUSES = (0.2, 1.0)
"""Seconds after which a window for which there was no memory is tried again: another model's step may have had it."""


class BatchTooLarge(Exception):
    """Raised by a step that ran out of memory: the batch is halved, and later ones are smaller."""


class Executor(Generic[J, R]):
    """Runs batches for several worker threads."""

    def __init__(
        self,
        step: Callable[[list[J]], Sequence[R]],
        *,
        prove: Callable[[], None],
        settle: Callable[[Entry[J], R | Exception], None],
        charge: Callable[[Sequence[Entry[J]], float], int],
        speed: Speed,
        watchdog: Watchdog,
        tell: Callable[[Report], None],
        clock: Callable[[], float],
        limit: BatchLimit,
        wait: Callable[[float], None] = time.sleep,
    ) -> None:
        """`settle` is given what came of each window, `charge` each step's batch and seconds.

        `charge` returns how many windows are left in the queue; `prove` raises where no step can succeed.
        """
        self.is_broken = False
        """Whether the last failure was not its window's: nothing succeeds any more."""
        self._limit = limit
        self._step = step
        self._prove = prove
        self._settle = settle
        self._charge = charge
        self._speed = speed
        self._watchdog = watchdog
        self._tell = tell
        self._clock = clock
        self._wait = wait

    def run(self, batch: list[Entry[J]]) -> None:
        """Run a batch and settle each of its windows."""
        self._run(batch, list(PAUSES))

    def _run(self, batch: list[Entry[J]], pauses: list[float]) -> None:
        """Run a batch; the `pauses` that are left are for all of it."""
        # The parts run behind the `try`: an exception in hand keeps what its frames hold on the device.
        parts: list[list[Entry[J]]] = []
        pause = 0.0
        try:
            results = self._timed_step(batch)
        except BatchTooLarge as error:
            if len(batch) > 1:
                half = len(batch) // 2
                parts = [batch[:half], batch[half:]]
                self._limit.was_too_large(_weight(batch))
            elif pauses:
                log.warning("out of memory: trying %s again", batch[0].job.description)
                parts, pause = [batch], pauses.pop(0)
            else:
                log.error("out of memory: %s does not fit alone", batch[0].job.description)
                self._settle(batch[0], error)
                return
        except Exception as error:
            if len(batch) == 1:
                log.exception("%s failed", batch[0].job.description)
                self._settle(batch[0], error)
                self.check_device()
                return
            log.warning("a batch of %d failed (%r); trying them one by one", len(batch), error)
            parts = [[entry] for entry in batch]
        else:
            self.is_broken = False
            for entry, result in zip(batch, results, strict=True):
                self._settle(entry, result)
            self._limit.went_well(_weight(batch))
        if pause:
            self._wait(pause)
        for part in parts:
            self._run(part, pauses)

    def check_device(self) -> None:
        """Find out whether steps succeed: where one has failed, its window may have been bad, or a GPU is lost."""
        try:
            with self._watchdog.watching(("a trial",), self._speed.expected_step_seconds(1)):
                self._prove()
        except Exception as error:
            if not self.is_broken:
                log.critical("nothing can be computed any more: %r", error)
            self.is_broken = True
        else:
            self.is_broken = False

    def _timed_step(self, batch: list[Entry[J]]) -> Sequence[R]:
        began = self._clock()
        audio_seconds = sum(entry.job.audio_seconds for entry in batch)
        names = tuple(entry.job.description for entry in batch)
        failed = True
        try:
            with self._watchdog.watching(names, self._speed.expected_step_seconds(_windows(batch))):
                results = self._step([entry.job for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for a batch of {len(batch)}")
            failed = False
            return results
        finally:
            seconds = self._clock() - began
            left = self._charge(batch, seconds)
            if not failed:
                self._learn(batch, seconds)
            self._tell(
                StepReport(
                    batch_size=len(batch),
                    requests=len({entry.place.number for entry in batch}),
                    audio_seconds=audio_seconds,
                    step_seconds=seconds,
                    waited=tuple(began - entry.queued_at for entry in batch),
                    windows_left=left,
                    failed=failed,
                )
            )

    def _learn(self, batch: Sequence[Entry[J]], seconds: float) -> None:
        whole = sum(entry.job.is_whole and not entry.is_further for entry in batch)
        apart = sum(entry.job.is_apart for entry in batch)
        if whole == len(batch):
            self._speed.observe(windows=_windows(batch), seconds=seconds, now=self._clock())
        else:
            self._speed.observe_further(seconds * (1 - (whole + apart) / len(batch)))


def _weight(batch: Sequence[Entry[Any]]) -> int:
    """How many usual windows take as much memory as this batch."""
    return sum(entry.job.weight for entry in batch)


def _windows(batch: Sequence[Entry[Any]]) -> float:
    """How many full windows would take as long as this batch."""
    return math.fsum(entry.job.share for entry in batch)
