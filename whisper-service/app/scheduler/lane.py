"""One request in the scheduler: where it hands in its windows, and what it has been served."""

from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar

from .queue import J, Place

if TYPE_CHECKING:
    from .loop import Scheduler

R = TypeVar("R")


class Lane(Generic[J, R]):
    """One request in the scheduler. Times are seconds; only its own request uses it."""

    def __init__(self, scheduler: "Scheduler[J, R]", place: Place[J], expected: float) -> None:
        self._scheduler = scheduler
        self.place = place
        self.expected_seconds = expected
        self.submitted_seconds = 0.0
        self.served_seconds = 0.0
        self.started = False
        self.queue_seconds = 0.0
        """From the first window handed in until the first that started."""
        self.inference_seconds = 0.0
        """This request's share of the steps that its windows took part in."""

    @property
    def remaining_seconds(self) -> float:
        """Audio that is expected or handed in, and not yet served."""
        return max(self.expected_seconds, self.submitted_seconds) - self.served_seconds

    @property
    def look_ahead(self) -> int:
        """How many windows are worth preparing: what the next batch may take, and at least 2."""
        most = self._scheduler.max_batch_size
        return min(most * self._scheduler.workers + 1, max(2, 1 << min(self.place.batches, 16)))

    def submit(self, job: J, *, urgent: bool = False) -> "Future[R]":
        """Queue a window; `urgent` puts a further attempt in front of the request's other windows.

        The future fails with the step's exception, or with SchedulerDied.
        """
        return self._scheduler.submit(self, job, urgent=urgent)

    def expect(self, seconds: float) -> None:
        """Tell how much audio there is in all, once that is known."""
        self.expected_seconds = seconds

    def close(self) -> None:
        """End the request: windows that have not started are dropped, one that runs is ignored."""
        self._scheduler.close_lane(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()
