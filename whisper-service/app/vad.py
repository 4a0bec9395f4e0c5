"""Where speech is, found while the samples still come: Silero's network and the rules around it.

`SpeechProbabilities` runs faster-whisper's Silero asset with carried state; `SpeechSpans` turns its
numbers into spans by the same rules as `faster_whisper.vad.get_speech_timestamps`, but as a stream: a
span is told as soon as nothing to come can change it. Positions are sample indices at 16 kHz.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from faster_whisper.vad import VadOptions as VadOptions
from faster_whisper.vad import get_vad_model

from .audio import SAMPLE_RATE, Samples

FRAME = 512
"""Samples that get one probability: 32 ms."""
_CONTEXT = 64
_LEAST_SILENCE = SAMPLE_RATE * 98 / 1000
"""Silence at which speech of the greatest allowed duration may be split."""
_LONGEST_OPEN = 30 * SAMPLE_RATE
"""Least time for which what is neither speech nor silence is left undecided."""


class Span(NamedTuple):
    """A stretch of samples, its end excluded."""

    start: int
    end: int

    @property
    def length(self) -> int:
        """Samples in it."""
        return self.end - self.start


class SpeechProbabilities:
    """Silero on a stream; the numbers are those of a run over the whole file."""

    def __init__(self) -> None:
        self._session = get_vad_model().session
        self._h = np.zeros((1, 1, 128), np.float32)
        self._c = np.zeros((1, 1, 128), np.float32)
        self._context = np.zeros(_CONTEXT, np.float32)
        self._rest = np.zeros(0, np.float32)

    def push(self, samples: Samples) -> Samples:
        """Return the probability of speech of each frame that `samples` completes."""
        joined = np.concatenate([self._rest, samples])
        whole = len(joined) // FRAME * FRAME
        self._rest = joined[whole:]
        if not whole:
            return np.zeros(0, np.float32)
        frames = joined[:whole].reshape(-1, FRAME)
        left = np.vstack([self._context, frames[:-1, -_CONTEXT:]])
        self._context = frames[-1, -_CONTEXT:]
        inputs = {"input": np.hstack([left, frames]), "h": self._h, "c": self._c}
        probabilities, self._h, self._c = self._session.run(None, inputs)
        return np.asarray(probabilities, np.float32).reshape(-1)

    def finish(self) -> Samples:
        """Return the last frame's probability, its missing samples taken as silence."""
        return self.push(np.zeros(FRAME - len(self._rest), np.float32))


@dataclass(frozen=True)
class _Rules:
    """VadOptions in samples; the names are those of the original."""

    threshold: float
    neg_threshold: float
    min_speech: float
    max_speech: float
    min_silence: float
    pad: float

    @classmethod
    def of(cls, options: VadOptions) -> "_Rules":
        pad = SAMPLE_RATE * options.speech_pad_ms / 1000
        neg_threshold = options.neg_threshold
        if neg_threshold is None:
            neg_threshold = max(options.threshold - 0.15, 0.01)
        return cls(
            threshold=options.threshold,
            neg_threshold=neg_threshold,
            min_speech=SAMPLE_RATE * options.min_speech_duration_ms / 1000,
            max_speech=SAMPLE_RATE * options.max_speech_duration_s - FRAME - 2 * pad,
            min_silence=SAMPLE_RATE * options.min_silence_duration_ms / 1000,
            pad=pad,
        )


class SpeechSpans:
    """Spans of speech from probabilities, as a stream. Pure.

    The rules are those of Silero VAD (MIT, github.com/snakers4/silero-vad) in faster-whisper's form;
    `_judge` follows that form line by line, so that the two can be compared.
    """

    def __init__(self, options: VadOptions) -> None:
        self._rules = _Rules.of(options)
        self._position = 0
        self._start: int | None = None
        self._silence_start = self._prev_end = self._next_start = 0
        self._ended: list[Span] = []
        """Spans, not yet padded, whose end's padding hangs on when speech begins again."""
        self._lead = self._rules.pad
        """Padding before the first span that has not been told yet."""

    def push(self, probabilities: Samples) -> list[Span]:
        """Return the spans that have become final with these frames."""
        for probability in probabilities.tolist():
            self._judge(probability)
            self._position += FRAME
        return list(self._settle())

    def finish(self, total: int) -> list[Span]:
        """Return the remaining spans; `total` is the number of samples of the whole file."""
        if self._start is not None and total - self._start > self._rules.min_speech:
            self._ended.append(Span(self._start, total))
        self._start = None
        spans = list(self._settle())
        if self._ended:
            [last] = self._ended
            spans.append(self._padded(last, min(total, last.end + self._rules.pad)))
            self._ended = []
        return spans

    @property
    def certain(self) -> Span | None:
        """The part of the next span to be told that will not change any more, padded at its start."""
        if self._ended:
            return self._padded(self._ended[0], self._ended[0].end)
        if self._start is None:
            return None
        span = Span(self._start, self._certain_end())
        return self._padded(span, span.end) if span.length > self._rules.min_speech else None

    @property
    def settled(self) -> int:
        """The sample before which neither speech nor silence will change any more."""
        if self.certain is not None:
            return self.certain.end
        start = self._heard if self._start is None else self._start
        return max(0, int(start - self._lead))

    @property
    def _heard(self) -> int:
        # One frame less than judged: the last frame of a file reaches beyond its last sample.
        return self._position - FRAME

    def _certain_end(self) -> int:
        ends = [self._heard]
        if self._silence_start:
            ends.append(self._silence_start)
        if self._prev_end and self._rules.max_speech < float("inf"):
            ends.append(self._prev_end)
        return min(ends)

    def _settle(self) -> Iterator[Span]:
        """Tell the ended spans whose padding is known: half of a short silence, or all of it."""
        pad = self._rules.pad
        while self._ended:
            first = self._ended[0]
            if len(self._ended) > 1:
                following, is_certain = self._ended[1].start, True
            elif self._start is not None:
                length = self._certain_end() - self._start
                following, is_certain = self._start, length > self._rules.min_speech
            else:
                following, is_certain = self._heard, False
            silence = following - first.end
            if silence >= 2 * pad:
                yield self._padded(first, first.end + pad)
                self._lead = pad
            elif is_certain:
                yield self._padded(first, first.end + silence // 2)
                self._lead = silence // 2
            else:
                return
            del self._ended[0]

    def _padded(self, span: Span, end: float) -> Span:
        return Span(int(max(0, span.start - self._lead)), int(end))

    def _judge(self, probability: float) -> None:
        rules, position = self._rules, self._position
        if self._silence_start and (probability >= rules.threshold or self._is_open_for_long):
            self._silence_start = 0
            if self._next_start < self._prev_end:
                self._next_start = position
        if probability >= rules.threshold and self._start is None:
            self._start = position
            return
        if self._start is not None and position - self._start > rules.max_speech:
            if not self._prev_end:
                self._ended.append(Span(self._start, position))
                self._begin(None)
                return
            self._ended.append(Span(self._start, self._prev_end))
            self._begin(self._next_start if self._next_start >= self._prev_end else None)
        if probability < rules.neg_threshold and self._start is not None:
            self._silence_start = self._silence_start or position
            silence = position - self._silence_start
            if silence > _LEAST_SILENCE:
                self._prev_end = self._silence_start
            if silence < rules.min_silence:
                return
            if self._silence_start - self._start > rules.min_speech:
                self._ended.append(Span(self._start, self._silence_start))
            self._begin(None)

    @property
    def _is_open_for_long(self) -> bool:
        """Whether it has been neither speech nor silence for so long that it is kept, as speech.

        Nothing is told before that is decided, and what is not told is held: faster-whisper, which has the whole
        file anyway, waits for as long as it takes.
        """
        return self._position - self._silence_start > max(self._rules.min_silence, _LONGEST_OPEN)

    def _begin(self, start: int | None) -> None:
        self._start = start
        self._silence_start = self._prev_end = self._next_start = 0
