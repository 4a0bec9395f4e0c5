"""The threads that run batches: one for each worker, and one that watches them.

A request opens a `Lane`, submits windows, and gets a future for each. An exception in a batch is
looked into member by member, so that one bad window harms nobody else. A worker thread ends only by
`close`; if one dies, all who wait are told within a second and `alive` turns false.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic

from ..errors import Overloaded, ServiceError
from .admission import Bounds, Load
from .lane import Lane, R
from .queue import Entry, FairQueue, J, Priority
from .reports import Hook, RefusalReport, Report, StallReport, StepReport
from .speed import Speed

log = logging.getLogger(__name__)

STALL_FACTOR = 10.0
STALL_FLOOR_SECONDS = 60.0
WATCH_SECONDS = 0.5


class SchedulerDied(ServiceError):
    """A worker thread ended by a bug; nothing that waits will be served."""

    def __init__(self) -> None:
        super().__init__("Internal server error")


class BatchTooLarge(Exception):
    """Raised by a step that ran out of memory: the batch is halved, now and from now on."""


@dataclass(slots=True, eq=False)
class _Running(Generic[R]):
    """What a worker thread is at."""

    windows: tuple[str, ...]
    since: float
    expected: float | None
    reported: bool = False


class Scheduler(Generic[J, R]):
    """Owner of the queue of one engine; see the module."""

    def __init__(
        self,
        step: Callable[[list[J]], Sequence[R]],
        *,
        workers: int = 1,
        max_batch_size: int = 4,
        max_requests: int = 64,
        max_queue_seconds: float = float("inf"),
        hooks: Sequence[Hook] = (),
        clock: Callable[[], float] = time.monotonic,
        stall_factor: float = STALL_FACTOR,
        stall_floor_seconds: float = STALL_FLOOR_SECONDS,
    ) -> None:
        self.workers = workers
        self.max_batch_size = max_batch_size
        self.speed = Speed(workers)
        self._step = step
        self._bounds = Bounds(max_requests, max_queue_seconds)
        self._hooks = list(hooks)
        self._clock = clock
        self._stall_factor = stall_factor
        self._stall_floor = stall_floor_seconds
        self._queue: FairQueue[J] = FairQueue()
        self._lanes: dict[int, Lane[J, R]] = {}
        self._lock = threading.Lock()
        self._work = threading.Condition(self._lock)
        self._closing = threading.Event()
        self._died = False
        self._running: dict[int, _Running[R]] = {}
        self._in_flight: set[Future[R]] = set()
        self._threads: list[threading.Thread] = []

    # --- life -----------------------------------------------------------------------------------

    def start(self) -> None:
        """Start the worker threads and the watchdog."""
        self._threads = [
            threading.Thread(target=self._work_on, args=(n,), name=f"inference-{n}", daemon=True)
            for n in range(self.workers)
        ]
        self._threads.append(threading.Thread(target=self._watch, name="watchdog", daemon=True))
        for thread in self._threads:
            thread.start()

    def close(self) -> None:
        """End the threads after their step in flight; windows that wait fail with Overloaded."""
        self._closing.set()
        with self._work:
            self._work.notify_all()
        for thread in self._threads:
            thread.join()
        self._fail_all(Overloaded("The service is shutting down"))

    @property
    def alive(self) -> bool:
        """False once a worker thread has died."""
        return not self._died

    @property
    def stalled(self) -> tuple[str, ...]:
        """The windows that a step has been working on for far too long; empty when all is well."""
        with self._lock:
            late = [running for running in self._running.values() if self._late(running)]
        return tuple(window for running in late for window in running.windows)

    # --- admission ------------------------------------------------------------------------------

    @property
    def waiting_requests(self) -> int:
        """Requests of which no window has started."""
        return self._load().waiting_requests

    @property
    def backlog_seconds(self) -> float:
        """Audio that is admitted and not yet served."""
        return self._load().backlog_seconds

    def predicted_start_seconds(self) -> float:
        """When a request that came now would have its first window started.

        Everybody who waits has one window's turn before it; a long file's rest has not.
        """
        return self.speed.predicted_seconds(self._load().turns_seconds)

    def check(self, seconds: float = 0.0, deadline: float | None = None) -> None:
        """Raise Overloaded if a request with `seconds` of audio would not be admitted now."""
        with self._lock:
            refused = self._refusal(seconds, deadline)
        if refused is not None:
            error, report = refused
            self._tell(report)
            raise error

    def open(
        self,
        *,
        tenant: str = "",
        priority: Priority = "interactive",
        seconds: float = 0.0,
        deadline: float | None = None,
    ) -> Lane[J, R]:
        """Admit a request of `seconds` of audio (0 when not known yet).

        Raises Overloaded, with the seconds after which to come again, when the queue is full or
        the request could not end within `deadline` seconds.
        """
        with self._lock:
            refused = self._refusal(seconds, deadline)
            if refused is None:
                place = self._queue.open(tenant, priority)
                lane = Lane(self, place, seconds)
                self._lanes[place.number] = lane
                return lane
        error, report = refused
        self._tell(report)
        raise error

    def _load(self) -> Load:
        with self._lock:
            return Load.of(self._lanes.values())

    def _refusal(
        self, seconds: float, deadline: float | None
    ) -> tuple[ServiceError, RefusalReport] | None:
        load = Load.of(self._lanes.values())
        if self._died or self._closing.is_set():
            error = Overloaded("The service takes no work at the moment")
            return error, RefusalReport("closed", load.waiting_requests, load.backlog_seconds)
        return self._bounds.refusal(load, self.speed, seconds, deadline)

    # --- lanes ----------------------------------------------------------------------------------

    def submit(self, lane: Lane[J, R], job: J, *, urgent: bool) -> "Future[R]":
        """See Lane.submit."""
        if not job.audio_seconds > 0:
            raise ValueError(f"{job.description}: a job must cost something")
        future: Future[R] = Future()
        now = self._clock()
        with self._work:
            if self._died or self._closing.is_set():
                future.set_exception(SchedulerDied() if self._died else Overloaded("Closing"))
            elif lane.place.number not in self._lanes:
                future.cancel()
            else:
                entry = Entry(job, lane.place, future, now)
                lane.submitted_seconds += job.audio_seconds
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

    def _work_on(self, worker: int) -> None:
        try:
            while (batch := self._wait_for_batch()) is not None:
                self._run(worker, batch)
                del batch  # do not hold a window's memory while waiting for the next
        except BaseException:
            log.critical("inference thread %d died", worker, exc_info=True)
            self._died = True
            self._fail_all(SchedulerDied())

    def _wait_for_batch(self) -> list[Entry[J]] | None:
        with self._work:
            while not self._closing.is_set() and not self._died:
                batch = self._queue.take(self._clock(), self.max_batch_size)
                if batch:
                    self._in_flight.update(entry.future for entry in batch)
                    for entry in batch:
                        lane = self._lanes[entry.place.number]
                        if not lane.started:
                            lane.started = True
                            lane.queue_seconds = self._clock() - entry.queued_at
                    return batch
                self._work.wait()
        return None

    def _run(self, worker: int, batch: list[Entry[J]]) -> None:
        """Run a batch; halve it when it is too large, and look for the culprit when it fails."""
        try:
            results = self._timed_step(worker, batch)
        except BatchTooLarge as error:
            if len(batch) == 1:
                self._settle(batch[0], error=error)
                return
            half = len(batch) // 2
            self.max_batch_size = max(1, min(self.max_batch_size, half))
            log.warning("out of memory: at most %d windows in a batch now", self.max_batch_size)
            self._run(worker, batch[:half])
            self._run(worker, batch[half:])
        except Exception as error:
            if len(batch) == 1:
                log.exception("%s failed", batch[0].job.description)
                self._settle(batch[0], error=error)
                return
            log.warning("a batch of %d failed (%r); trying them one by one", len(batch), error)
            for entry in batch:
                self._run(worker, [entry])
        else:
            for entry, result in zip(batch, results, strict=True):
                self._settle(entry, result=result)

    def _timed_step(self, worker: int, batch: list[Entry[J]]) -> Sequence[R]:
        began = self._clock()
        audio_seconds = sum(entry.job.audio_seconds for entry in batch)
        expected = self.speed.expected_step_seconds(len(batch))
        names = tuple(entry.job.description for entry in batch)
        with self._lock:
            self._running[worker] = _Running(names, began, expected)
        failed = True
        try:
            results = self._step([entry.job for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"{len(results)} results for a batch of {len(batch)}")
            failed = False
            return results
        finally:
            seconds = self._clock() - began
            with self._lock:
                del self._running[worker]
                left = len(self._queue)
                for entry in batch:
                    if (lane := self._lanes.get(entry.place.number)) is not None:
                        lane.inference_seconds += seconds / len(batch)
            if not failed:
                self.speed.observe(windows=len(batch), audio_seconds=audio_seconds, seconds=seconds)
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

    def _settle(
        self, entry: Entry[J], *, result: R | None = None, error: Exception | None = None
    ) -> None:
        with self._lock:
            if entry.future not in self._in_flight:
                return  # failed already, since another thread died
            self._in_flight.discard(entry.future)
            if (lane := self._lanes.get(entry.place.number)) is not None:
                lane.served_seconds += entry.job.audio_seconds
        if error is not None:
            entry.future.set_exception(error)
        else:
            entry.future.set_result(result)

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

    # --- the watchdog ---------------------------------------------------------------------------

    def _late(self, running: _Running[R]) -> bool:
        limit = max(self._stall_floor, self._stall_factor * (running.expected or 0.0))
        return self._clock() - running.since > limit

    def _watch(self) -> None:
        while not self._closing.wait(WATCH_SECONDS):
            self.watch()

    def watch(self) -> None:
        """Look once for steps that take too long; each is logged once."""
        with self._lock:
            late = [r for r in self._running.values() if self._late(r) and not r.reported]
            for running in late:
                running.reported = True
        for running in late:
            seconds = self._clock() - running.since
            log.error("stalled for %.0f s on %s", seconds, "; ".join(running.windows))
            self._tell(StallReport(running.windows, seconds, running.expected or 0.0))

    def _tell(self, report: Report) -> None:
        for hook in self._hooks:
            try:
                hook(report)
            except Exception:
                log.exception("a hook failed on %r", report)
