"""The scheduler: owner of the queue of one engine; worker threads empty it.

A request opens a `Lane`, submits windows, and gets a future for each. A worker thread ends only by
`close`; if one dies, all who wait are told at once and `alive` turns false.
"""

import functools
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Generic

from ..errors import Overloaded, ServiceError
from .admission import Arrival, Bounds, Load, Rivals, seconds_before, waiting_before
from .batch_limit import BatchLimit
from .executor import Executor
from .lane import Lane, R
from .queue import Entry, FairQueue, J
from .reports import Hook, RefusalReport, tell
from .speed import Speed
from .watchdog import Watchdog
from .workers import Workers

LOOK_AGAIN_SECONDS = 30.0
"""How often an idle worker tries a device again on which nothing succeeded.

A balancer that asks /readyz sends it no request that would show it.
"""
ANYONE = Arrival(tenant=None)
"""A request of which nothing is known yet: what it is refused for, every other one would be too."""
DEFAULT = Arrival()
"""A request that says nothing of itself."""


class SchedulerDied(ServiceError):
    """A worker thread ended by a bug; nothing that waits will be served."""

    def __init__(self) -> None:
        super().__init__("Internal server error")


class Scheduler(Generic[J, R]):
    """Owner of the queue of one engine; see the module."""

    def __init__(
        self,
        step: Callable[[list[J]], Sequence[R]],
        *,
        prove: Callable[[], None] = lambda: None,
        workers: int = 1,
        max_batch_size: int = 4,
        max_requests: int = 64,
        max_queue_seconds: float = float("inf"),
        fills_up: bool = True,
        hooks: Sequence[Hook] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`prove` raises where no step could succeed, whatever window it is given; `fills_up` see FairQueue."""
        self._tell = functools.partial(tell, list(hooks))
        self.workers = workers
        self._limit = BatchLimit(max_batch_size)
        self.speed = Speed(workers, lambda: self.max_batch_size)
        self.watchdog = Watchdog(self._tell, clock)
        self._executor: Executor[J, R] = Executor(
            step,
            prove=prove,
            settle=self._settle,
            charge=self._charge,
            speed=self.speed,
            watchdog=self.watchdog,
            tell=self._tell,
            clock=clock,
            limit=self._limit,
        )
        self._bounds = Bounds(max_requests, max_queue_seconds, workers * max_batch_size)
        self._clock = clock
        self._queue: FairQueue[J] = FairQueue(fills_up=fills_up)
        self._lanes: dict[int, Lane[J, R]] = {}
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._closing = False
        self._died = False
        self._in_flight: set[Future[R]] = set()
        self._running_batches = 0
        self._workers: Workers[J] = Workers(
            workers, take=self._wait_for_batch, run=self._run, died=self._die
        )

    # --- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the worker threads and the watchdog."""
        self._workers.start()
        self.watchdog.start()

    def close(self) -> bool:
        """End the threads after their step in flight; windows that wait fail with Overloaded.

        False when a step is stalled: it may never end, so it is left behind, and the engine in use.
        """
        with self._work:
            self._closing = True
            self._work.notify_all()
        has_ended = self._workers.join(is_hopeless=lambda: bool(self.watchdog.stalled))
        self.watchdog.stop()
        self._fail_all(_stopping())
        return has_ended

    @property
    def alive(self) -> bool:
        """False once a worker thread has died, and while every step fails."""
        return not (self._died or self._executor.is_broken)

    @property
    def is_stalled(self) -> bool:
        """Whether no worker thread gets on any more."""
        return self.watchdog.stalled_steps >= self.workers

    @property
    def max_batch_size(self) -> int:
        """Windows that fit into a batch, as far as is known."""
        return self._limit.size

    def busy_lanes(self, rank: int) -> int:
        """Requests of a class, or of a higher one, that have windows in the queue or in flight."""
        with self._lock:
            return self._queue.busy(rank)

    # --- admission ------------------------------------------------------------------------------

    def learn(self, seconds: float) -> None:
        """Learn how long a window takes before any has come."""
        self.speed.observe(windows=1, seconds=seconds, now=self._clock())

    @property
    def load(self) -> Load:
        """Who waits, and how much."""
        with self._lock:
            return Load.of(self._lanes.values())

    def predicted_start_seconds(self, arrival: Arrival = DEFAULT) -> float:
        """When the first window of a request that came now would be started.

        Everybody whose turn it is has one window before it; a long file's rest has not.
        """
        first = replace(arrival, seconds=0.0)
        with self._lock:
            return seconds_before(first, self._rivals, self.speed, self._clock())

    @property
    def _rivals(self) -> Rivals:
        """Who is here; the caller holds the lock."""
        is_idle = self._running_batches < self.workers and not len(self._queue)
        return Rivals([*self._lanes.values()], is_idle)

    def waiting_before(self, arrival: Arrival) -> int:
        """How many wait that may be served before a request that came now."""
        with self._lock:
            return waiting_before(arrival, [*self._lanes.values()], self._clock())

    def check(self, arrival: Arrival = ANYONE) -> None:
        """Raise Overloaded if such a request would not be admitted now; see open."""
        with self._lock:
            refused = self._refusal(arrival)
        if refused is not None:
            raise self._told(*refused)

    def open(self, arrival: Arrival = DEFAULT) -> Lane[J, R]:
        """Admit a request.

        Raises Overloaded, with the seconds after which to come again, when the queue is full or the
        request could not end within its deadline.
        """
        with self._lock:
            refused = self._refusal(arrival)
            if refused is None:
                place = self._queue.open(arrival.tenant or "", arrival.priority)
                lane = Lane(self, place, arrival.seconds, arrival.share)
                self._lanes[place.number] = lane
                return lane
        raise self._told(*refused)

    def _told(self, error: ServiceError, report: RefusalReport) -> ServiceError:
        self._tell(report)
        return error

    def _refusal(self, arrival: Arrival) -> tuple[ServiceError, RefusalReport] | None:
        rivals = self._rivals
        is_stuck = self._died or self.is_stalled
        if is_stuck or self._closing:
            load = Load.of(rivals.lanes)
            error = _stopping() if self._closing else Overloaded("The model has stopped working")
            return error, RefusalReport("closed", load.waiting_requests, load.backlog_seconds)
        return self._bounds.refusal(arrival, rivals, self.speed, self._clock())

    # --- lanes ----------------------------------------------------------------------------------

    def submit(self, lane: Lane[J, R], job: J, *, urgent: bool) -> "Future[R]":
        """See Lane.submit."""
        if not job.audio_seconds > 0:
            raise ValueError(f"{job.description}: a job must cost something")
        future: Future[R] = Future()
        now = self._clock()
        with self._work:
            if self._died or self._closing:
                future.set_exception(SchedulerDied() if self._died else _stopping())
            elif lane.place.number not in self._lanes:
                future.cancel()
            else:
                entry = Entry(job, lane.place, future, now, is_further=urgent)
                if not urgent:
                    lane.count_off(job.audio_seconds)
                self._queue.push(entry, now, urgent=urgent)
                self._work.notify()
        return future

    def close_lane(self, lane: Lane[J, R]) -> None:
        """See Lane.close."""
        with self._lock:
            if self._lanes.pop(lane.place.number, None) is None:
                return
            dropped = self._queue.close(lane.place)
        for entry in dropped:
            entry.future.cancel()

    # --- the work -------------------------------------------------------------------------------

    def _die(self) -> None:
        self._died = True
        self._fail_all(SchedulerDied())

    def _wait_for_batch(self) -> list[Entry[J]] | None:
        """The next batch; an empty one to look whether steps succeed again; None at the end."""
        with self._work:
            while not self._closing and not self._died:
                batch = self._queue.take(self._clock(), self.max_batch_size)
                if batch:
                    self._running_batches += 1
                    self._in_flight.update(entry.future for entry in batch)
                    for entry in batch:
                        lane = self._lanes[entry.place.number]
                        if not lane.started:
                            lane.started = True
                            lane.queue_seconds = self._clock() - entry.queued_at
                    return batch
                is_broken = self._executor.is_broken
                has_news = self._work.wait(LOOK_AGAIN_SECONDS if is_broken else None)
                if is_broken and not has_news:
                    return []  # nobody may come any more who would show that steps succeed again
        return None

    def _run(self, batch: list[Entry[J]]) -> None:
        if not batch:
            self._executor.check_device()
            return
        self._executor.run(batch)
        with self._lock:
            self._running_batches -= 1

    def _charge(self, batch: Sequence[Entry[J]], seconds: float) -> int:
        with self._lock:
            for entry in batch:
                if (lane := self._lanes.get(entry.place.number)) is not None:
                    lane.inference_seconds += seconds / len(batch)
            return len(self._queue)

    def _settle(self, entry: Entry[J], outcome: R | Exception) -> None:
        with self._lock:
            if entry.future not in self._in_flight:
                return  # failed already, since another thread died
            self._in_flight.discard(entry.future)
            self._queue.has_run(entry)
        if isinstance(outcome, Exception):
            entry.future.set_exception(outcome)
        else:
            entry.future.set_result(outcome)

    def _fail_all(self, error: ServiceError) -> None:
        with self._lock:
            waiting = [entry.future for entry in self._queue]
            for lane in list(self._lanes.values()):
                self._queue.close(lane.place)
            self._lanes.clear()
            running, self._in_flight = list(self._in_flight), set()
            self._work.notify_all()
        for future in running:
            future.set_exception(error)
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(error)


def _stopping() -> Overloaded:
    return Overloaded("The service is shutting down")
