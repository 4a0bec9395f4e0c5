"""Whether a request is taken: a bounded queue in requests and in audio seconds, and deadlines; pure.

What is refused is told when to come again, from the measured speed. The caller holds the lock.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import Overloaded, ServiceError
from .lane import Lane
from .queue import AGEING_SECONDS, RANKS, Priority, class_ranks
from .reports import RefusalReport
from .speed import WINDOW_SECONDS, Speed, windows_in

Lanes = Sequence[Lane[Any, Any]]


@dataclass(frozen=True, slots=True)
class Arrival:
    """A request that comes now."""

    tenant: str | None = ""
    """None: not known yet, and nobody's of those who are here."""
    priority: Priority = "interactive"
    seconds: float = 0.0
    """Audio in it; 0 when that is not known yet."""
    deadline: float | None = None
    """Seconds from when it came, within which it is to be served whole."""
    in_turn: bool = False
    """Whether each of its windows waits for the one before it."""
    age: float = 0.0
    """Seconds since it came: while it was received it was not in the queue."""
    share: float = 1.0
    """Of a full window, what each of its windows takes."""

    @property
    def rank(self) -> int:
        """Of its priority class; 0 goes first."""
        return RANKS[self.priority]


@dataclass(frozen=True, slots=True)
class Load:
    """What is before a request that comes now."""

    waiting_requests: int
    """Requests that wait for their first or their next window while none of theirs runs."""
    backlog_seconds: float
    """Audio that is admitted and not yet served."""

    @classmethod
    def of(cls, lanes: Iterable[Lane[Any, Any]]) -> "Load":
        """The load of these requests."""
        lanes = list(lanes)
        return cls(
            waiting_requests=sum(lane.is_waiting for lane in lanes),
            backlog_seconds=sum(lane.remaining_seconds for lane in lanes),
        )


def waiting_before(arrival: Arrival, lanes: Lanes, now: float) -> int:
    """Requests that wait, and are of no lower class than the arrival's, as the classes have aged."""
    ranks = class_ranks((lane.place for lane in lanes), now)
    own = ranks.get(arrival.rank, arrival.rank)
    return sum(lane.is_waiting and ranks[lane.place.rank] <= own for lane in lanes)


@dataclass(frozen=True, slots=True)
class Rivals:
    """Who is here when a request comes."""

    lanes: Lanes
    is_idle: bool
    """Whether a worker has nothing to do."""


def seconds_before(arrival: Arrival, rivals: Rivals, speed: Speed, now: float) -> float:
    """Predict how long others are served until the arrival's own audio has been.

    A higher class goes first, but only until the arrival's has aged into it, which it does anew for each
    window. Within a class everybody gets as much as the arrival does.
    Of a lower class only what is in flight is waited for, since no step is broken off, and not even that where
    a worker is idle.
    """
    classes: defaultdict[int, list[Lane[Any, Any]]] = defaultdict(list)
    for lane in rivals.lanes:
        if lane.remaining_seconds > 0:
            classes[lane.place.rank].append(lane)
    ranks = class_ranks((lane.place for lanes in classes.values() for lane in lanes), now)
    own = ranks.setdefault(arrival.rank, arrival.rank)
    shares = {given: _fair_windows(arrival, lanes) for given, lanes in classes.items()}
    mine = max(1, windows_in(arrival.seconds)) + sum(
        share for given, share in shares.items() if ranks[given] == own
    )
    before = 0.0
    for given, lanes in classes.items():
        rank = ranks[given]
        running = 0.0 if rivals.is_idle else sum(len(lane.running) * lane.share for lane in lanes)
        in_flight = speed.predicted_seconds(running)
        if rank > own:
            before += in_flight
            continue
        fair = speed.predicted_seconds(shares[given])
        if rank < own:
            ageing = mine * (own - rank) * AGEING_SECONDS
            everything = sum(_windows(lane, lane.remaining_seconds) for lane in lanes)
            fair = min(fair + ageing, speed.predicted_seconds(everything))
        before += max(in_flight, fair)
    return before


def _fair_windows(arrival: Arrival, rivals: Lanes) -> float:
    """Windows that others in the arrival's class get while it is served.

    Tenants get the same amount of audio each, and so do the requests of a tenant.
    """
    tenants: defaultdict[str | None, list[Lane[Any, Any]]] = defaultdict(list)
    for lane in rivals:
        tenants[lane.place.tenant].append(lane)
    own = {lane: _turn(lane, arrival.seconds) for lane in tenants.pop(arrival.tenant, [])}
    windows = sum(_windows(lane, turn) for lane, turn in own.items())
    tenant_seconds = arrival.seconds + sum(own.values())
    for lanes in tenants.values():
        turns = {lane: _turn(lane, tenant_seconds) for lane in lanes}
        most = max(tenant_seconds, *(_next_seconds(lane) for lane in lanes))
        all_turns = sum(_windows(lane, turn) for lane, turn in turns.items())
        windows += all_turns * min(1.0, most / sum(turns.values()))
    return windows


def _windows(lane: Lane[Any, Any], seconds: float) -> float:
    """How many full windows take as long as so much of a request's audio."""
    return windows_in(seconds) * lane.share


def _turn(lane: Lane[Any, Any], seconds: float) -> float:
    """What a request is served while another one gets `seconds`: no less than its next window."""
    return min(lane.remaining_seconds, max(seconds, _next_seconds(lane)))


def _next_seconds(lane: Lane[Any, Any]) -> float:
    first: float | None = next((e.job.audio_seconds for e in lane.place.entries), None)
    return min(lane.remaining_seconds, WINDOW_SECONDS) if first is None else first


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much may wait."""

    requests: int
    audio_seconds: float
    in_flight: int
    """Windows that can run at once: so many requests more may be open, whatever each of them is at."""

    def refusal(
        self, arrival: Arrival, rivals: Rivals, speed: Speed, now: float
    ) -> tuple[ServiceError, RefusalReport] | None:
        """Why a request is not taken; None when it is.

        A request is taken however long it is when nothing else waits. A tenant that has nothing open
        finds room for as much again, so that nobody can fill the queue for all. A request whose end is
        predicted after its deadline is refused at once.
        """
        lanes = rivals.lanes
        load = Load.of(lanes)
        room = 1 if any(lane.place.tenant == arrival.tenant for lane in lanes) else 2
        most_open = room * (self.requests + self.in_flight)
        if load.waiting_requests >= room * self.requests or len(lanes) >= most_open:
            # All take turns until the shortest has had its last one.
            rounds = max(1, min(windows_in(lane.remaining_seconds) for lane in lanes))
            again = speed.predicted_seconds((rounds - 1) * len(lanes) + 1)
            full = Overloaded("The queue is full", retry_after=again)
            return full, _report("requests", load)
        excess = load.backlog_seconds + arrival.seconds - room * self.audio_seconds
        if load.backlog_seconds and excess > 0:
            again = speed.predicted_seconds(windows_in(min(excess, load.backlog_seconds)))
            full = Overloaded("The queue is full", retry_after=again)
            return full, _report("audio_seconds", load)
        if arrival.deadline is not None:
            alone = arrival.age
            if lanes or speed.is_current(now):
                alone += speed.predicted_alone(
                    arrival.seconds, in_turn=arrival.in_turn, share=arrival.share
                )
            end = seconds_before(arrival, rivals, speed, now) + alone
            if end > arrival.deadline:
                late = Overloaded(
                    f"The deadline of {arrival.deadline:g} s cannot be met; {math.ceil(10 * end) / 10} s are predicted",
                    param="deadline",
                    retry_after=end - arrival.deadline,
                )
                late.retryable = None if alone <= arrival.deadline else False
                return late, _report("deadline", load)
        return None


def _report(reason: Any, load: Load) -> RefusalReport:
    return RefusalReport(reason, load.waiting_requests, load.backlog_seconds)
