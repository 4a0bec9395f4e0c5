"""What was said, as the contract words it: times in the file, words, doubts. Pure."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ..audio import SAMPLE_RATE
from ..decoding.doubt import doubts, spoken_seconds
from ..decoding.look import Said
from ..decoding.plan import Plan
from ..decoding.sentences import PAUSE_SECONDS, split_draft
from ..decoding.timestamps import TimedWord
from ..decoding.vocabulary import Vocabulary
from ..mel import FRAMES_PER_SECOND
from ..vad import Span
from ..windows import Window
from ..wire import Segment, TokenLogprob, Word

_TOLERANCE = 1e-6
"""Milliseconds by which binary numbers may miss a whole one."""
_PAST_SEAM = 0.05
"""Seconds behind left-out silence in which a word that begins before it must end to be one of what follows."""
_CLOSE = 0.2
"""Seconds from speech within which a text without length is taken for a part of it."""
_LEAST_SPOKEN = 0.2
"""Seconds of speech that make a piece of a window one of a segment's; less is the end of another's."""


def _floor_to_ms(seconds: float) -> float:
    """Whole milliseconds; rounded down, since the audio may end within one."""
    return math.floor(seconds * 1000 + _TOLERANCE) / 1000


def _seconds(spans: Sequence[Span]) -> list[tuple[float, float]]:
    return [(span.start / SAMPLE_RATE, span.end / SAMPLE_RATE) for span in spans]


class Timeline:
    """Times of a passage to times of the file, for a window with silence left out, or a whole file."""

    def __init__(self, window: Window | None = None) -> None:
        self._window = window

    @property
    def speech(self) -> list[tuple[float, float]] | None:
        """Where somebody speaks, in seconds of the file; None where nobody looked."""
        return None if self._window is None else _seconds(self._window.speech)

    def spoken_share(self, start: float, end: float) -> float | None:
        """How much is speech of what the model has heard between two times; None where nobody looked."""
        if self._window is None:
            return None
        heard = spoken_seconds(start, end, _seconds(self._window.pieces))
        if heard > 0:
            return spoken_seconds(start, end, self.speech or []) / heard
        # Without length, or in what was left out: whether somebody speaks close by.
        return float(spoken_seconds(start - _CLOSE, end + _CLOSE, self.speech or []) > 0)

    def time(self, seconds: float, *, is_end: bool = False) -> float:
        """Seconds of the file."""
        if self._window is None:
            return seconds
        return self._window.time(seconds, is_end=is_end)

    def _heard_start(self, start: float, end: float) -> float:
        """Where speech begins inside a word: alignment likes to begin words in the silence before."""
        for begin, stop in self.speech or []:
            if begin <= start < stop:
                return start
            if start < begin < end:
                return begin
        return start

    def word(self, word: TimedWord) -> tuple[float, float]:
        """Start and end of a word: never across silence that was left out, but on one side of it.

        That is the side of its middle, unless nobody speaks there any more: then it is the first word behind.
        """
        start, end = self.time(word.start), self.time(word.end, is_end=True)
        heard = self._heard_start(start, end)
        at, late = self.time((word.start + word.end) / 2), self.time(word.end - _PAST_SEAM)
        for begin, stop in _seconds(self._window.pieces) if self._window is not None else ():
            if begin <= at <= stop:
                if late > stop and not spoken_seconds(start, stop, self.speech or []):
                    at = late
                    continue
                return min(max(heard, begin), stop), max(begin, min(end, stop))
        return heard, max(heard, end)

    def segment(self, start: float, end: float) -> tuple[float, float]:
        """Start and end of a segment without words: in pieces of the window where somebody speaks.

        Models begin one where the last has ended, which may be before silence that was left out.
        """
        start, end = self.time(start), self.time(end, is_end=True)
        spoken = []
        for begin, stop in _seconds(self._window.pieces) if self._window is not None else ():
            part = max(start, begin), min(end, stop)
            if spoken_seconds(*part, self.speech or []) >= _LEAST_SPOKEN:
                spoken.append(part)
        if spoken:
            start, end = spoken[0][0], spoken[-1][1]
        return start, max(start, end)


def split_at_silence(
    said: Sequence[Said], timeline: Timeline, vocabulary: Vocabulary
) -> Iterator[Said]:
    """Cut what goes on after a long silence: inside a window most of it was left out."""

    def is_border(word: TimedWord, following: TimedWord) -> bool:
        return timeline.word(following)[0] - timeline.word(word)[1] >= PAUSE_SECONDS

    for one in said:
        parts = list(split_draft(one.draft, is_border, vocabulary.timestamp_begin))
        if len(parts) == 1:
            yield one
            continue
        for part in parts:
            yield replace(one, draft=part, text=vocabulary.decode(part.tokens))


def wire_segment(
    said: Said, *, number: int, timeline: Timeline, plan: Plan, vocabulary: Vocabulary
) -> Segment:
    """One segment of the answer."""
    draft, outcome = said.draft, said.outcome
    words = _words(draft.words or [], timeline)
    if words:
        start, end = words[0].start, words[-1].end
    else:
        start, end = timeline.segment(draft.start, draft.end)
    return Segment(
        id=number,
        seek=round(timeline.time(draft.seek / FRAMES_PER_SECOND) * FRAMES_PER_SECOND),
        start=_floor_to_ms(start),
        end=_floor_to_ms(end),
        text=said.text,
        tokens=draft.tokens,
        temperature=outcome.temperature,
        avg_logprob=outcome.avg_logprob,
        compression_ratio=outcome.compression_ratio,
        no_speech_prob=outcome.no_speech_prob,
        words=words if plan.options.word_timestamps else None,
        logprobs=_logprobs(draft.words or [], vocabulary) if plan.options.logprobs else None,
        flags=doubts(
            text=said.text,
            outcome=outcome,
            thresholds=plan.thresholds,
            spoken_share=timeline.spoken_share(start, end),
        ),
    )


def _words(words: Sequence[TimedWord], timeline: Timeline) -> list[Word]:
    placed = []
    earliest = 0.0
    for word in words:
        start, end = timeline.word(word)
        start = max(earliest, _floor_to_ms(start))
        earliest = max(start, _floor_to_ms(end))
        placed.append(Word(word=word.word, start=start, end=earliest, probability=word.probability))
    return placed


def _logprobs(words: Sequence[TimedWord], vocabulary: Vocabulary) -> list[TokenLogprob]:
    told = []
    for word in words:
        for token, logprob in zip(word.tokens, word.logprobs, strict=True):
            data = vocabulary.token_bytes(token)
            text = data.decode(errors="replace")
            told.append(TokenLogprob(token=text, bytes=list(data), logprob=logprob))
    return told
