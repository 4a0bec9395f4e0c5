"""How fast the engine is, learned from its steps: predicted waits and expected step times.

A step costs something of its own, much of it on a GPU and little on a CPU, and something for each window: however
short a clip is, the encoder sees 30 s of it, unless it is given a shorter window, which counts as a share of one.
Beside the step that decodes a window there are others for some windows: a further temperature, a language, words.
"""

import math
import threading
from collections.abc import Callable

import numpy as np

FORGET = 0.2
"""Weight of the newest step in the running mean: about the last ten steps count."""
FORGET_SHARE = 0.005
"""The same for how much of a step is its own cost, which is the device's and hardly changes."""
IMAGINARY_STEPS = 10
"""Steps without windows that took no time, beside those that were seen: at first a step is taken to cost nothing of its own."""
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
    """Learns from steps; asked and told from several threads.

    Before the first step nothing is known: predictions are 0.0 and the expected time is None.
    """

    def __init__(self, workers: int = 1, batch_size: Callable[[], float] = lambda: 1) -> None:
        """`batch_size` tells how many windows a step takes at most."""
        self._workers = workers
        self._batch_size = batch_size
        self._lock = threading.Lock()
        self._per_window: float | None = None
        """Of a step with one window."""
        self._own_share = 0.0
        """Of that, what the step costs of its own."""
        self._moments = np.zeros(5)
        self._further_seconds = 0.0
        """Of further steps since windows were last decoded."""
        self._further_per_window = 0.0
        self._observed_at = float("-inf")

    def observe(self, *, windows: float, seconds: float, now: float) -> None:
        """Learn from one step that decoded `windows` full windows, or so much in shorter ones."""
        with self._lock:
            self._observed_at = now
            if not self._per_window:
                self._per_window = seconds / windows
            else:
                seconds = min(seconds, MOST_SLOWER * self._per_window * self._cost(windows))
                new = seconds / self._cost(windows)
                self._per_window += FORGET * (new - self._per_window)
            self._own_share = self._fitted_share(windows, seconds)
            further, self._further_seconds = self._further_seconds / windows, 0.0
            self._further_per_window += FORGET * (further - self._further_per_window)

    def _cost(self, windows: float) -> float:
        """How many times as long as one window a step over `windows` windows takes."""
        return self._own_share + (1 - self._own_share) * windows

    def _fitted_share(self, windows: float, seconds: float) -> float:
        """Fit a line to the steps so far, and return which part of its value at one window it has at none."""
        step = np.array([1.0, windows, seconds, windows**2, windows * seconds])
        self._moments = (1 - FORGET_SHARE) * self._moments + step
        count, x, y, xx, xy = self._moments
        count += IMAGINARY_STEPS
        slope = min(max(0.0, (count * xy - x * y) / (count * xx - x * x)), y / x)
        own = (y - slope * x) / count
        return float(own / (own + slope)) if y else 0.0

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
            return None if self._per_window is None else self._per_window * self._cost(windows)

    def predicted_seconds(self, windows: float) -> float:
        """How long all workers together need for `windows` windows."""
        each = windows / self._workers
        return self._seconds(each, steps=max(min(each, 1.0), each / self._batch_size()))

    def predicted_alone(
        self, audio_seconds: float, *, in_turn: bool = False, share: float = 1.0
    ) -> float:
        """How long `audio_seconds` of audio take with nobody else there.

        All workers share the windows, unless those go `in_turn`, each after the one before it. A window takes a
        `share` of a full one.
        """
        windows = windows_in(audio_seconds)
        if in_turn:
            return self._seconds(windows * share, steps=windows)
        rounds = math.ceil(windows / self._workers)
        return self._seconds(rounds * share, steps=math.ceil(rounds / self._batch_size()))

    def _seconds(self, windows: float, *, steps: float) -> float:
        """How long one worker needs for `windows` windows in so many steps, with all that comes beside these."""
        with self._lock:
            if self._per_window is None:
                return 0.0
            cost = self._own_share * steps + (1 - self._own_share) * windows
            return self._per_window * cost + self._further_per_window * windows
