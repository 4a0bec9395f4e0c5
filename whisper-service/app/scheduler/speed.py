"""How fast the engine is, learned from its steps: predicted waits and expected step times.

A step costs by the window: however short a clip is, the encoder sees 30 s of it, unless it is given a shorter
window, which counts as a share of one. Beside the step that decodes a window there are others for some
windows: a further temperature, a language, words.
"""

import math
import threading

FORGET = 0.2
"""Weight of the newest step in the running mean: about the last ten steps count."""
WINDOW_SECONDS = 30.0
"""Audio in a usual window of a long file."""
MOST_SLOWER = 4.0
"""A step counts as at most so many times as slow as those before it: the machine may have been asleep in it."""
CURRENT_SECONDS = 300.0
"""Without any step for so long, nobody is refused for what was measured: the machine may have been busy then."""


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
        self._further_seconds = 0.0
        """Of further steps since windows were last decoded."""
        self._further_per_window = 0.0
        self._observed_at = float("-inf")

    def observe(self, *, windows: float, seconds: float, now: float) -> None:
        """Learn from one step that decoded `windows` full windows, or so much in shorter ones."""
        with self._lock:
            self._observed_at = now
            new, old = seconds / windows, self._per_window
            if old is not None:
                new = old + FORGET * (min(new, MOST_SLOWER * old) - old)
            self._per_window = new
            further, self._further_seconds = self._further_seconds / windows, 0.0
            self._further_per_window += FORGET * (further - self._further_per_window)

    def observe_further(self, seconds: float) -> None:
        """Learn from another step over windows that were decoded before, or will be."""
        with self._lock:
            self._further_seconds += seconds

    def is_current(self, now: float) -> bool:
        """Whether the last step was not long ago."""
        with self._lock:
            return now - self._observed_at < CURRENT_SECONDS

    def expected_step_seconds(self, windows: float) -> float | None:
        """How long a step over `windows` windows should take."""
        with self._lock:
            return None if self._per_window is None else self._per_window * windows

    @property
    def _window_seconds(self) -> float:
        """What a window takes in all its steps."""
        with self._lock:
            return 0.0 if self._per_window is None else self._per_window + self._further_per_window

    def predicted_seconds(self, windows: float) -> float:
        """How long all workers together need for `windows` windows."""
        return self._window_seconds * windows / self._workers

    def predicted_alone(self, audio_seconds: float, *, in_turn: bool = False) -> float:
        """How long `audio_seconds` of audio take with nobody else there.

        All workers share the windows, unless those go `in_turn`, each after the one before it.
        """
        rounds = math.ceil(windows_in(audio_seconds) / (1 if in_turn else self._workers))
        return self._window_seconds * rounds
