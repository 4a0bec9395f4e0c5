"""How many windows fit into a batch: fewer once the memory was too small, and more again after a while."""

import logging
import threading

log = logging.getLogger(__name__)

GOOD_STEPS = 16
"""So many full batches after the memory was too small, one window more is tried. What filled it may have been
one request's many hypotheses, or another process. Each such trial that fails makes the next take twice as many."""


class BatchLimit:
    """Learned from steps; asked and told from several threads."""

    def __init__(self, most: int) -> None:
        """`most` is what a batch may have at all."""
        self.size = most
        """Windows that fit, as far as is known."""
        self._most = most
        self._is_trial = False
        """Whether so few steps have gone well since one window more was tried that it may still be too many."""
        self._good_steps, self._enough_steps = 0, GOOD_STEPS
        self._lock = threading.Lock()

    def was_too_large(self, windows: int) -> None:
        """Take smaller batches than this one; after a trial those that went well before it."""
        with self._lock:
            self._good_steps = 0
            if windows > self.size:
                return  # batches of this size are not taken any more
            if self._is_trial and windows == self.size:
                self.size -= 1
                self._enough_steps *= 2
            else:
                self.size = windows // 2
            self._is_trial = False
            log.warning("out of memory: at most %d windows in a batch now", self.size)

    def went_well(self, windows: int) -> None:
        """Try larger batches again once many full ones have gone well."""
        with self._lock:
            if windows < self.size or (self.size == self._most and not self._is_trial):
                return
            self._good_steps += 1
            if self._good_steps < self._enough_steps:
                return
            self._good_steps, self._is_trial = 0, self.size < self._most
            if self._is_trial:
                self.size += 1
                log.info("trying %d windows in a batch again", self.size)
