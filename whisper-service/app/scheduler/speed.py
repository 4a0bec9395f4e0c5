"""How fast the engine is, learned from its steps: predicted waits and expected step times."""

import threading

FORGET = 0.2
"""Weight of the newest step in the running means: about the last ten steps count."""


class Speed:
    """Running means over steps; asked and told from several threads.

    Before the first step nothing is known: predictions are 0.0 and the expected time is None.
    """

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._per_window: float | None = None
        self._per_audio_second: float | None = None

    def observe(self, *, windows: int, audio_seconds: float, seconds: float) -> None:
        """Learn from one step over `windows` windows that hold `audio_seconds` of audio."""
        with self._lock:
            self._per_window = _mean(self._per_window, seconds / windows)
            self._per_audio_second = _mean(self._per_audio_second, seconds / audio_seconds)

    def expected_step_seconds(self, windows: int) -> float | None:
        """How long a step over `windows` windows should take."""
        with self._lock:
            return None if self._per_window is None else self._per_window * windows

    def predicted_seconds(self, audio_seconds: float) -> float:
        """How long all workers together need for `audio_seconds` of audio."""
        with self._lock:
            return audio_seconds * (self._per_audio_second or 0.0) / self._workers

    def predicted_alone(self, audio_seconds: float) -> float:
        """How long one worker needs for `audio_seconds` of audio with nobody else there."""
        with self._lock:
            return audio_seconds * (self._per_audio_second or 0.0)


def _mean(old: float | None, new: float) -> float:
    return new if old is None else old + FORGET * (new - old)
