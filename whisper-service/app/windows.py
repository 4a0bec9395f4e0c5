"""Samples and speech to windows of at most 30 s, cut where nobody speaks, while the file still comes.

What Whisper sees at once is a window. Silence that the VAD options call silence is left out; what stays
is told by `Window.pieces`, so that a time inside a window is exact in the file. Nothing is lost, nothing
is in two windows. Where a window ends does not depend on how the samples came in blocks. Pure: samples
in, windows out, and no more is held than one window and the look-ahead.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from .audio import SAMPLE_RATE, Samples
from .vad import FRAME, Span, SpeechProbabilities, SpeechSpans, VadOptions

LONGEST = 30 * SAMPLE_RATE
"""Samples in the longest window: what Whisper was trained on."""
FULL_ENOUGH = 2 / 3
"""Of the longest: from here on a window may end at a pause."""
CLEAR_PAUSE = SAMPLE_RATE // 2
"""Samples of a pause that sentences end with: a longer one is no better place, but windows that end later are fewer."""
LEAST = 1 / 3
"""Of the longest: shortest window that is cut off before speech is cut in two."""
TAIL = 1 / 6
"""Of the longest: look-ahead beyond a window, so that the last one of a file is not a scrap."""
LONGEST_GAP = 10 * SAMPLE_RATE
"""Longest silence that may be left out inside a window; behind a longer one a new window begins."""
PAUSE_MS = 160
"""Shortest silence between words that counts as a pause (faster-whisper's for batches)."""
_SMOOTHING = 3


@dataclass(frozen=True, eq=False)
class Window:
    """A stretch of at most 30 s that the encoder sees at once."""

    samples: Samples
    """float32, mono, 16 kHz."""
    pieces: tuple[Span, ...]
    """Which samples of the file these are, in order; between them is silence that was left out."""
    speech: tuple[Span, ...]
    """Where somebody speaks, in samples of the file, at a resolution of 32 ms."""

    @property
    def start(self) -> float:
        """Where it begins in the file, in seconds."""
        return self.pieces[0].start / SAMPLE_RATE

    @property
    def end(self) -> float:
        """Where it ends in the file, in seconds."""
        return self.pieces[-1].end / SAMPLE_RATE

    @property
    def duration(self) -> float:
        """Seconds of audio in it, without the silence that was left out."""
        return len(self.samples) / SAMPLE_RATE

    def time(self, seconds: float, *, is_end: bool = False) -> float:
        """Return where in the file a time inside the window is; both in seconds.

        A time at a seam is the beginning of the second piece, or with `is_end` the end of the first.
        """
        left = seconds * SAMPLE_RATE
        for piece in self.pieces:
            if left < piece.length or (is_end and left == piece.length):
                return (piece.start + max(0.0, left)) / SAMPLE_RATE
            left -= piece.length
        return self.end


@dataclass(frozen=True, eq=False)
class Levels:
    """Probabilities of speech of consecutive frames, the first of which begins at `start`."""

    start: int
    probabilities: Samples

    def quietest(self, stretches: Sequence[Span]) -> int | None:
        """Return the sample in the middle of the least speech; the latest of several."""
        kernel = np.ones(_SMOOTHING) / _SMOOTHING
        smooth = np.convolve(
            np.pad(self.probabilities, _SMOOTHING // 2, mode="edge"), kernel, "valid"
        )
        middles = self.start + np.arange(len(smooth)) * FRAME + FRAME // 2
        allowed = np.zeros(len(smooth), bool)
        for stretch in stretches:
            allowed |= (middles > stretch.start) & (middles < stretch.end)
        if not allowed.any():
            return None
        least = np.where(allowed, smooth, np.inf)
        return int(middles[np.flatnonzero(least == least.min())[-1]])


def cut_windows(blocks: Iterable[Samples], options: VadOptions) -> Iterator[Window]:
    """Yield the windows of one file's blocks, each as soon as it is certain where it ends."""
    vad, cutter = SpeechProbabilities(), WindowCutter(options)
    for block in blocks:
        yield from cutter.push(block, vad.push(block))
    yield from cutter.finish(vad.finish())


class WindowCutter:
    """Windows of one file, from blocks of samples and the speech probabilities of their frames."""

    def __init__(self, options: VadOptions) -> None:
        self._longest = int(min(LONGEST, options.max_speech_duration_s * SAMPLE_RATE))
        self._enough, self._least, self._tail = (
            int(self._longest * share) for share in (FULL_ENOUGH, LEAST, TAIL)
        )
        self.received = 0
        """Samples taken so far."""
        self._kept = _Track(options)
        pauses = VadOptions(
            threshold=options.threshold,
            neg_threshold=options.neg_threshold,
            min_silence_duration_ms=PAUSE_MS,
            speech_pad_ms=0,
        )
        self._speech = _Track(pauses)
        self._samples = np.zeros(0, np.float32)
        self._base = 0
        """Where in the file the held samples begin; a multiple of a frame."""
        self._probabilities = np.zeros(0, np.float32)

    def push(self, samples: Samples, probabilities: Samples) -> Iterator[Window]:
        """Yield the windows that end for certain, now that these samples are known."""
        self.received += len(samples)
        self._samples = np.concatenate([self._samples, samples])
        self._hear(probabilities)
        settled = min(self._kept.spans.settled, self._speech.spans.settled)
        yield from self._windows(settled, is_end=False)
        self._let_go(settled)

    def finish(self, probabilities: Samples) -> Iterator[Window]:
        """Yield what is left at the end of the file."""
        self._hear(probabilities)
        self._kept.finish(self.received)
        self._speech.finish(self.received)
        yield from self._windows(self.received, is_end=True)

    def _hear(self, probabilities: Samples) -> None:
        self._probabilities = np.concatenate([self._probabilities, probabilities])
        self._kept.push(probabilities)
        self._speech.push(probabilities)

    def _windows(self, settled: int, *, is_end: bool) -> Iterator[Window]:
        longest, tail = self._longest, self._tail
        while True:
            kept = self._kept.until(settled)
            pieces = _before_gap(kept)
            total = sum(piece.length for piece in pieces)
            is_complete = (
                is_end
                or len(pieces) < len(kept)
                or (bool(pieces) and settled - pieces[-1].end > LONGEST_GAP)
            )
            if not pieces or (not is_complete and total <= longest + tail):
                return
            speech = self._speech.until(settled)
            if is_complete and total <= longest:
                end = pieces[-1].end
            elif is_complete and total <= longest + tail:
                end = _position(pieces, longest)
                if _before(speech, pieces[-1].end) != _before(speech, end):
                    bounds = total - longest, total // 2, total - tail
                    end = _cut(pieces, speech, self._levels, *bounds)
            else:
                end = _cut(pieces, speech, self._levels, self._least, self._enough, longest)
            if said := _before(speech, end):  # a pause that is as long as a window says nothing
                yield self._window(_before(pieces, end), said)
            self._kept.forget(end)
            self._speech.forget(end)

    @property
    def _levels(self) -> Levels:
        return Levels(self._base, self._probabilities)

    def _window(self, pieces: tuple[Span, ...], speech: tuple[Span, ...]) -> Window:
        pieces = _merged(pieces)
        held = [
            self._samples[piece.start - self._base : piece.end - self._base] for piece in pieces
        ]
        samples = np.concatenate(held)
        inside = tuple(span for piece in pieces for span in _between(speech, piece))
        return Window(samples, pieces, inside)

    def _let_go(self, settled: int) -> None:
        kept = self._kept.until(settled)
        needed = kept[0].start if kept else settled
        frames = max(0, needed - self._base) // FRAME
        self._samples = self._samples[frames * FRAME :]
        self._probabilities = self._probabilities[frames:]
        self._base += frames * FRAME


class _Track:
    """Spans by one set of rules, of which those that have gone into windows are forgotten."""

    def __init__(self, options: VadOptions) -> None:
        self.spans = SpeechSpans(options)
        self._final: list[Span] = []
        self._forgotten = 0

    def push(self, probabilities: Samples) -> None:
        self._final += self.spans.push(probabilities)

    def finish(self, total: int) -> None:
        self._final += self.spans.finish(total)

    def until(self, settled: int) -> tuple[Span, ...]:
        """All that is known for certain before `settled` and not forgotten."""
        certain = self.spans.certain
        known = [*self._final, certain] if certain else self._final
        return _between(known, Span(self._forgotten, settled))

    def forget(self, end: int) -> None:
        self._forgotten = end
        self._final = [span for span in self._final if span.end > end]


def _before_gap(pieces: Sequence[Span]) -> tuple[Span, ...]:
    """The leading pieces that are near enough to one another to share windows."""
    for index in range(1, len(pieces)):
        if pieces[index].start - pieces[index - 1].end > LONGEST_GAP:
            return tuple(pieces[:index])
    return tuple(pieces)


def _cut(
    pieces: Sequence[Span],
    speech: Sequence[Span],
    levels: Levels,
    least: int,
    enough: int,
    most: int,
) -> int:
    """Return where to end a window that holds `least` to `most` samples of `pieces`.

    The longest pause after `enough`, the latest of several clear ones; else such a pause after `least`; else the
    least speech.
    """
    end = _position(pieces, most)
    # What is before all speech is no pause: a window of it would hold nothing else.
    borders = [*_before(speech, end), Span(end, end)]
    if len(borders) == 1:
        borders.insert(0, Span(0, pieces[0].start))
    for lowest in (_position(pieces, enough), _position(pieces, least)):
        pauses = [
            Span(max(before.end, lowest), after.start)
            for before, after in pairwise(borders)
            if after.start > max(before.end, lowest)
        ]
        if pauses:
            best = max(pauses, key=lambda pause: (min(pause.length, CLEAR_PAUSE), pause.start))
            return (best.start + best.end) // 2
    quietest = levels.quietest(_between(pieces, Span(_position(pieces, enough), end)))
    return end if quietest is None else quietest


def _position(pieces: Sequence[Span], count: int) -> int:
    """Return the sample of the file before which `pieces` hold `count` samples."""
    for piece in pieces:
        if count <= piece.length:
            return piece.start + count
        count -= piece.length
    return pieces[-1].end


def _between(spans: Iterable[Span], limits: Span) -> tuple[Span, ...]:
    clipped = (Span(max(s.start, limits.start), min(s.end, limits.end)) for s in spans)
    return tuple(span for span in clipped if span.length > 0)


def _merged(pieces: Sequence[Span]) -> tuple[Span, ...]:
    """Pieces without those borders at which nothing was left out; the VAD splits long speech too."""
    merged: list[Span] = []
    for piece in pieces:
        if merged and piece.start <= merged[-1].end:
            merged[-1] = Span(merged[-1].start, piece.end)
        else:
            merged.append(piece)
    return tuple(merged)


def _before(spans: Sequence[Span], cut: int) -> tuple[Span, ...]:
    return _between(spans, Span(0, cut))
