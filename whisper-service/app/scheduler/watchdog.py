"""The watchdog: a step that takes many times what it should is seen, logged and reported, each once.

It cannot end such a step, since the device holds the thread; who asks for health is told.
"""

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from .reports import Report, StallReport

log = logging.getLogger(__name__)

STALL_FACTOR = 10.0
STALL_FLOOR_SECONDS = 60.0
WATCH_SECONDS = 0.5


@dataclass(slots=True, eq=False)
class _RunningStep:
    """What a worker thread is at."""

    windows: tuple[str, ...]
    since: float
    expected: float | None
    reported: bool = False


class Watchdog:
    """Knows the steps that run. Told and asked from several threads."""

    def __init__(
        self,
        tell: Callable[[Report], None],
        clock: Callable[[], float],
        *,
        stall_factor: float = STALL_FACTOR,
        stall_floor_seconds: float = STALL_FLOOR_SECONDS,
    ) -> None:
        """A step is late after `stall_factor` times its expected time, and never before the floor."""
        self.stall_factor = stall_factor
        self.stall_floor_seconds = stall_floor_seconds
        self._tell = tell
        self._clock = clock
        self._lock = threading.Lock()
        self._running: set[_RunningStep] = set()
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None

    @contextmanager
    def watching(self, windows: tuple[str, ...], expected: float | None) -> Iterator[None]:
        """Watch the step that runs in this block; `expected` is its time in seconds, if known."""
        running = _RunningStep(windows, self._clock(), expected)
        with self._lock:
            self._running.add(running)
        try:
            yield
        finally:
            with self._lock:
                self._running.discard(running)

    @property
    def stalled(self) -> tuple[str, ...]:
        """The windows that a step has been working on for far too long; empty when all is well."""
        return tuple(window for running in self._late() for window in running.windows)

    @property
    def stalled_steps(self) -> int:
        """How many steps that is: so many worker threads may never come back."""
        return len(self._late())

    def look(self) -> None:
        """Look once for steps that take too long; each is logged once."""
        with self._lock:
            late = [step for step in self._running if self._is_late(step) and not step.reported]
            for running in late:
                running.reported = True
        for running in late:
            seconds = self._clock() - running.since
            log.error("stalled for %.0f s on %s", seconds, "; ".join(running.windows))
            self._tell(StallReport(running.windows, seconds, running.expected or 0.0))

    def start(self) -> None:
        """Start a thread that looks again and again."""
        self._thread = threading.Thread(target=self._run, name="watchdog", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End that thread, if there is one."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(WATCH_SECONDS):
            self.look()

    def _late(self) -> list[_RunningStep]:
        with self._lock:
            return [running for running in self._running if self._is_late(running)]

    def _is_late(self, running: _RunningStep) -> bool:
        limit = max(self.stall_floor_seconds, self.stall_factor * (running.expected or 0.0))
        return self._clock() - running.since > limit
