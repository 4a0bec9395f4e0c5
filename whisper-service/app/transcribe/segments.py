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
_BRIEF, _CLOSE = 0.5, 0.2
"""A text shorter than so many seconds is taken for speech where somebody speaks so close by."""
_STAYS = 0.5
"""Seconds of silence in a word, behind which it has long ended."""
_OPENING = 0.15
"""Seconds of speech before left-out silence that are no room for words with which a segment begins."""
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
        self._speech = [] if window is None else _seconds(window.speech)
        self._pieces = [] if window is None else _seconds(window.pieces)

    def spoken_share(self, start: float, end: float) -> float | None:
        """How much is speech of what the model has heard between two times; None where nobody looked."""
        if self._window is None:
            return None
        heard = spoken_seconds(start, end, self._pieces)
        if heard >= _BRIEF:
            return spoken_seconds(start, end, self._speech) / heard
        # Alignment misses a short word by as much as it is long, and may give it no length.
        return float(spoken_seconds(start - _CLOSE, end + _CLOSE, self._speech) > 0)

    def time(self, seconds: float, *, is_end: bool = False) -> float:
        """Seconds of the file."""
        if self._window is None:
            return seconds
        return self._window.time(seconds, is_end=is_end)

    def _heard_start(self, start: float, end: float) -> float:
        """Where speech begins inside a word: alignment likes to begin words in the silence before."""
        for begin, stop in self._speech:
            if begin <= start < stop:
                return start
            if start < begin < end:
                return begin
        return start

    def _heard_end(self, start: float, end: float) -> float:
        """Where speech ends inside a word: its full stop, where it is a part of the word, takes the silence behind."""
        for begin, stop in self._speech:
            is_over = begin <= start < stop <= end - _STAYS
            if is_over and not spoken_seconds(stop, end, self._speech):
                return stop
        return end

    def words(self, words: Sequence[TimedWord]) -> list[TimedWord]:
        """The words of a segment in seconds of the file.

        Words that open it stand behind left-out silence, and not alone before it: alignment begins them in the pad
        there. What was said before a pause has a comma at least.
        """
        times = [self.word(word) for word in words]
        for begin, stop in self._pieces:
            lead = sum(end <= stop for _, end in times)
            is_opening = 0 < lead < len(times) and times[0][0] >= begin
            if not is_opening or not words[lead - 1].word[-1:].isalnum():
                continue
            if spoken_seconds(times[0][0], stop, self._speech) <= _OPENING:
                times[:lead] = [(times[lead][0],) * 2] * lead
        return [
            replace(word, start=start, end=end)
            for word, (start, end) in zip(words, times, strict=True)
        ]

    def word(self, word: TimedWord) -> tuple[float, float]:
        """Start and end of a word: never across silence that was left out, but on one side of it.

        That is the side of its middle, unless nobody speaks there any more: then it is the first word behind.
        """
        start, end = self.time(word.start), self.time(word.end, is_end=True)
        heard = self._heard_start(start, end)
        end = self._heard_end(heard, end)
        at, late = self.time((word.start + word.end) / 2), self.time(word.end - _PAST_SEAM)
        for begin, stop in self._pieces:
            if begin <= at <= stop:
                if late > stop and not spoken_seconds(start, stop, self._speech):
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
        for begin, stop in self._pieces:
            part = max(start, begin), min(end, stop)
            if spoken_seconds(*part, self._speech) >= _LEAST_SPOKEN:
                spoken.append(part)
        if spoken:
            start, end = spoken[0][0], spoken[-1][1]
        return start, max(start, end)


def split_at_silence(
    said: Sequence[Said], timeline: Timeline, vocabulary: Vocabulary
) -> Iterator[Said]:
    """Segments in seconds of the file, cut at long silences: inside a window most of them were left out."""

    def is_border(word: TimedWord, following: TimedWord) -> bool:
        return following.start - word.end >= PAUSE_SECONDS

    for one in said:
        words = timeline.words(one.draft.words or [])
        if words:
            start, end = words[0].start, words[-1].end
        else:
            start, end = timeline.segment(one.draft.start, one.draft.end)
        draft = replace(one.draft, start=start, end=end, words=words)
        parts = list(split_draft(draft, is_border, vocabulary.timestamp_begin))
        for part in parts:
            text = one.text if len(parts) == 1 else vocabulary.decode(part.tokens)
            yield replace(one, draft=part, text=text)


def wire_segment(
    said: Said, *, number: int, timeline: Timeline, plan: Plan, vocabulary: Vocabulary
) -> Segment:
    """One segment of the answer, of what `split_at_silence` has put into seconds of the file."""
    draft, outcome = said.draft, said.outcome
    words = _words(draft.words or [])
    start, end = (words[0].start, words[-1].end) if words else (draft.start, draft.end)
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


def _words(words: Sequence[TimedWord]) -> list[Word]:
    placed = []
    earliest = 0.0
    for word in words:
        start = max(earliest, _floor_to_ms(word.start))
        earliest = max(start, _floor_to_ms(word.end))
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
