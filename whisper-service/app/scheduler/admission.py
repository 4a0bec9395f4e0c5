"""Whether a request is taken: a bounded queue in requests and in audio seconds, and deadlines; pure.

What is refused is told when to come again, from the measured speed.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import Overloaded, ServiceError
from .lane import Lane
from .reports import RefusalReport
from .speed import Speed


@dataclass(frozen=True, slots=True)
class Load:
    """What is before a request that comes now."""

    waiting_requests: int
    """Requests of which no window has started."""
    backlog_seconds: float
    """Audio that is admitted and not yet served."""
    turns_seconds: float
    """Audio in the next window of everybody who waits."""

    @classmethod
    def of(cls, lanes: Iterable[Lane[Any, Any]]) -> "Load":
        """The load of these requests; the caller holds the scheduler's lock."""
        lanes = list(lanes)
        firsts = [lane.place.entries[0].job.audio_seconds for lane in lanes if lane.place.entries]
        return cls(
            waiting_requests=sum(not lane.started for lane in lanes),
            backlog_seconds=sum(lane.remaining_seconds for lane in lanes),
            turns_seconds=sum(firsts),
        )


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait."""

    requests: int
    audio_seconds: float

    def refusal(
        self, load: Load, speed: Speed, seconds: float, deadline: float | None
    ) -> tuple[ServiceError, RefusalReport] | None:
        """Why a request of `seconds` of audio is not taken; None when it is.

        A request is taken however long it is when nothing else waits. One whose end is predicted
        after its `deadline`, in seconds from now, is refused at once.
        """
        if load.waiting_requests >= self.requests:
            again = speed.predicted_seconds(load.turns_seconds) / load.waiting_requests
            full = Overloaded("The queue is full", retry_after=again)
            return full, _report("requests", load)
        excess = load.backlog_seconds + seconds - self.audio_seconds
        if load.backlog_seconds and excess > 0:
            full = Overloaded("The queue is full", retry_after=speed.predicted_seconds(excess))
            return full, _report("audio_seconds", load)
        if deadline is not None:
            alone = speed.predicted_alone(seconds)
            end = speed.predicted_seconds(load.backlog_seconds) + alone
            if end > deadline:
                late = Overloaded(
                    f"The deadline of {deadline:g} s cannot be met; {end:.1f} s are predicted",
                    param="deadline",
                    retry_after=end - deadline,
                )
                late.retryable = None if alone <= deadline else False
                return late, _report("deadline", load)
        return None


def _report(reason: Any, load: Load) -> RefusalReport:
    return RefusalReport(reason, load.waiting_requests, load.backlog_seconds)
