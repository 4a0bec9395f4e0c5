"""Which windows vote together for the language of a file."""

from dataclasses import dataclass, field

import numpy as np

from ..audio import SAMPLE_RATE
from ..decoding.listener import Sound
from ..windows import FULL_ENOUGH, LONGEST, Window

ENOUGH_SPEECH = 3 * SAMPLE_RATE
"""So much is sure of its language. A cough or a greeting before a long silence is a window too, of which a model
guesses; faster-whisper hears the first 30 s of all that is spoken."""


@dataclass
class Ballot:
    """Consecutive windows, heard as one until they hold enough speech."""

    windows: list[Window] = field(default_factory=list)

    @property
    def is_enough(self) -> bool:
        """Whether its windows hold so much speech that no further one is needed, or none would be heard."""
        spans = (span for window in self.windows for span in window.speech)
        size = sum(len(window.samples) for window in self.windows)
        return sum(span.length for span in spans) >= ENOUGH_SPEECH or size >= FULL_ENOUGH * LONGEST

    @property
    def sound(self) -> Sound:
        """All of it, 30 s at most."""
        samples = np.concatenate([window.samples for window in self.windows])[:LONGEST]
        return Sound(samples, 0, is_whole=True, start=self.windows[0].start)
