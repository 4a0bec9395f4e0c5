"""Where passages come from: a window that is held, or a file that is still being read."""

from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np

from ..audio import SAMPLE_RATE, Samples
from ..mel import FRAME_SAMPLES, FRAMES_PER_SECOND, FULL_FRAMES
from ..windows import LONGEST, Window
from .listener import Sound

LEAST_SPEECH_SECONDS = 0.5
"""No more speech than this behind the last segment of a window is not looked at again; what has never
been heard, or only in a text that was not taken, is."""


class WindowSource:
    """A window of at most 30 s that the VAD has cut."""

    def __init__(self, window: Window, encoded: Any = None) -> None:
        self._window = window
        self._encoded = encoded

    @property
    def end(self) -> int:
        """Frames in the window."""
        return -(-len(self._window.samples) // FRAME_SAMPLES)

    async def read(self, seek: int, *, heard: int) -> Sound | None:
        """The window, and what is left of it when somebody speaks there."""
        samples = self._window.samples[seek * FRAME_SAMPLES :]
        least = LEAST_SPEECH_SECONDS if heard >= self.end else 0.0
        if seek and self._speech_after(seek) <= least:
            return None
        encoded = None if seek else self._encoded
        start = self._window.time(seek / FRAMES_PER_SECOND)
        return Sound(samples, seek, is_whole=not seek, start=start, encoded=encoded)

    def _speech_after(self, seek: int) -> float:
        begin = self._window.time(seek / FRAMES_PER_SECOND) * SAMPLE_RATE
        inside = sum(max(0.0, span.end - max(span.start, begin)) for span in self._window.speech)
        return inside / SAMPLE_RATE


class FileSource:
    """A whole file, of which no more is held than a window and the block after it."""

    def __init__(self, next_block: Callable[[], Awaitable[Samples | None]]) -> None:
        self._next_block = next_block
        self._samples = np.zeros(0, np.float32)
        self._begin = 0
        self._is_over = False
        self._broken: Exception | None = None
        self.end: int | None = None
        self.encoded: Any = None
        """The encoder's output of the first window, where it was heard for its language."""

    async def read(self, seek: int, *, heard: int = 0) -> Sound | None:
        """The next 30 s from `seek`; all that is left counts, whether heard or not.

        Where the file breaks off, what went wrong is raised behind all that came before.
        """
        held = await self._fill(seek * FRAME_SAMPLES)
        if len(held) < FRAME_SAMPLES:
            self.check()
            return None
        samples = held[:LONGEST]
        encoded, self.encoded = None if seek else self.encoded, None  # megabytes, of use once
        is_whole = not seek and len(held) <= LONGEST
        return Sound(samples, seek, is_whole=is_whole, encoded=encoded)

    async def peek(self, index: int) -> Sound | None:
        """The window number `index` of the file, counted in whole windows, before any is read."""
        begin = index * LONGEST
        held = await self._fill(0, begin + LONGEST)
        samples = held[begin : begin + LONGEST]
        if len(samples) < FRAME_SAMPLES:
            return None
        is_whole = not index and len(held) <= LONGEST
        return Sound(samples, index * FULL_FRAMES, is_whole=is_whole)

    def check(self) -> None:
        """Raise what went wrong where the file broke off."""
        if self._broken is not None:
            raise self._broken

    async def _fill(self, begin: int, ahead: int = LONGEST) -> Samples:
        """Hold `ahead` samples from `begin` and one more, unless the file ends before: without that one it is whole."""
        parts = [self._from(begin, self._samples)]
        size = len(parts[0])
        while size <= ahead and not self._is_over:
            try:
                block = await self._next_block()
            except Exception as error:
                block, self._broken = None, error
            if block is None:
                self._is_over = True
                self.end = (self._begin + size) // FRAME_SAMPLES
            else:
                parts.append(self._from(begin, block))
                size += len(parts[-1])
        self._samples = np.concatenate(parts)
        return self._samples

    def _from(self, begin: int, samples: Samples) -> Samples:
        """Those of the next samples of the file that do not lie before `begin`."""
        passed = min(begin - self._begin, len(samples))
        self._begin += passed
        return samples[passed:]
