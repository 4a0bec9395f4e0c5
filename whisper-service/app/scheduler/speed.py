"""How fast the engine is, learned from its steps over whole windows: predicted waits and expected step times.

A step costs by the window: however short a clip is, the encoder sees 30 s of it.
"""

import math
import threading

FORGET = 0.2
"""Weight of the newest step in the running mean: about the last ten steps count."""
WINDOW_SECONDS = 30.0
"""Audio in a usual window of a long file."""


def windows_in(audio_seconds: float) -> int:
    """How many windows `audio_seconds` of audio become."""
    return math.ceil(audio_seconds / WINDOW_SECONDS)


class Speed:
    """Running mean over steps; asked and told from several threads.

    Before the first step nothing is known: predictions are 0.0 and the expected time is None.
    """

    def __init__(self, workers: int = 1) -> None:
        self._workers = workers
        self._lock = threading.Lock()
        self._per_window: float | None = None

    def observe(self, *, windows: int, seconds: float) -> None:
        """Learn from one step over `windows` windows that did all of their work."""
        with self._lock:
            new, old = seconds / windows, self._per_window
            self._per_window = new if old is None else old + FORGET * (new - old)

    def expected_step_seconds(self, windows: int) -> float | None:
        """How long a step over `windows` windows should take."""
        with self._lock:
            return None if self._per_window is None else self._per_window * windows

    def predicted_seconds(self, windows: float) -> float:
        """How long all workers together need for `windows` windows."""
        return (self.expected_step_seconds(1) or 0.0) * windows / self._workers

    def predicted_alone(self, audio_seconds: float, *, in_turn: bool = False) -> float:
        """How long `audio_seconds` of audio take with nobody else there.

        All workers share the windows, unless those go `in_turn`, each after the one before it.
        """
        rounds = math.ceil(windows_in(audio_seconds) / (1 if in_turn else self._workers))
        return (self.expected_step_seconds(1) or 0.0) * rounds
