"""One request in the scheduler: where it hands in its windows, and what it has been served."""

from concurrent.futures import Future
from typing import TYPE_CHECKING, Generic, TypeVar

from ..closing import Closing
from .queue import Entry, J, Place

if TYPE_CHECKING:
    from .loop import Scheduler

R = TypeVar("R")


class Lane(Closing, Generic[J, R]):
    """One request in the scheduler. Times are seconds; only its own request uses it."""

    def __init__(
        self, scheduler: "Scheduler[J, R]", place: Place[J], expected: float, share: float
    ) -> None:
        self._scheduler = scheduler
        self.place = place
        self.share = share
        """Of a full window, what each of its windows takes."""
        self._coming_seconds = expected
        self.started = False
        self.queue_seconds = 0.0
        """From the first window handed in until the first that started."""
        self.inference_seconds = 0.0
        """This request's share of the steps that its windows took part in."""

    @property
    def running(self) -> set[Entry[J]]:
        """Windows in flight."""
        return self.place.running

    @property
    def remaining_seconds(self) -> float:
        """Audio that is still to come, waits, or runs; a window counts once however often it is tried."""
        here = [*self.place.entries, *self.running]
        return self._coming_seconds + sum(entry.job.audio_seconds for entry in here)

    @property
    def is_waiting(self) -> bool:
        """Whether none of its windows runs although it has not started, or has one in the queue.

        One that has started and has none in the queue is reading its file or making text: it waits for
        nobody.
        """
        return not self.running and (not self.started or bool(self.place.entries))

    @property
    def is_stalled(self) -> bool:
        """Whether a step with a window of its own has hung for long, or all that it may wait for."""
        stalled = self._scheduler.watchdog.stalled
        is_own = any(entry.job.description in stalled for entry in list(self.running))
        return is_own or self._scheduler.is_stalled

    @property
    def look_ahead(self) -> int:
        """How many windows are worth having in flight and ready: those that run and the next batch, and at least 2.

        Where others of its class or of a higher one have windows too, all together prepare twice as many, so
        that the memory of many long files is not a multiple of one's.
        """
        most = self._scheduler.max_batch_size * (self._scheduler.workers + 1)
        share = 2 * most // max(1, self._scheduler.busy_lanes(self.place.rank))
        return max(2, min(most, share, 3 << min(self.place.batches, 16)))

    def submit(self, job: J, *, urgent: bool = False) -> "Future[R]":
        """Queue a window; `urgent` puts a further attempt in front of the request's other windows.

        The future fails with the step's exception, or with SchedulerDied.
        """
        return self._scheduler.submit(self, job, urgent=urgent)

    def expect(self, seconds: float) -> None:
        """Tell how much audio is still to come beside the windows that were handed in."""
        self._coming_seconds = seconds

    def count_off(self, seconds: float) -> None:
        """Count off audio that was expected and is in the queue now; for the scheduler."""
        self._coming_seconds = max(0.0, self._coming_seconds - seconds)

    def close(self) -> None:
        """End the request: windows that have not started are dropped, one that runs is ignored."""
        self._scheduler.close_lane(self)
