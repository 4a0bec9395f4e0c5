"""The worker threads: each takes a batch, runs it, and takes the next, until there is none to come."""

import logging
import threading
from collections.abc import Callable
from typing import Generic

from .queue import Entry, J

log = logging.getLogger(__name__)

JOIN_SECONDS = 0.5


class Workers(Generic[J]):
    """Threads that end when `take` returns None, and run what it returns, at times a batch of nothing.

    One that ends by a bug tells `died`.
    """

    def __init__(
        self,
        count: int,
        *,
        take: Callable[[], list[Entry[J]] | None],
        run: Callable[[list[Entry[J]]], None],
        died: Callable[[], None],
    ) -> None:
        self._take = take
        self._run = run
        self._tell_died = died
        self._threads = [
            threading.Thread(target=self._work, name=f"inference-{n}", daemon=True)
            for n in range(count)
        ]

    def start(self) -> None:
        """Start all threads."""
        for thread in self._threads:
            thread.start()

    def join(self, *, is_hopeless: Callable[[], bool]) -> bool:
        """Wait until all threads that were started have ended; False if waiting became hopeless."""
        for thread in self._threads:
            while thread.is_alive():
                if is_hopeless():
                    return False
                thread.join(JOIN_SECONDS)
        return True

    def _work(self) -> None:
        try:
            while (batch := self._take()) is not None:
                self._run(batch)
                del batch  # do not hold a window's memory while waiting for the next
        except BaseException:
            log.critical("%s died", threading.current_thread().name, exc_info=True)
            self._tell_died()
