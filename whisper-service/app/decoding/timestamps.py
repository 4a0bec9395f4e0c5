"""Timestamp tokens to segments, and where the next window begins; pure.

The rules are those of the reference implementation (openai/whisper, transcribe.py) in faster-whisper's
form (`_split_segments_by_timestamps`). Times are seconds, `seek` and sizes are frames of 10 ms.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from ..mel import FRAMES_PER_SECOND

SECONDS_PER_TIMESTAMP = 0.02
FRAMES_PER_TIMESTAMP = 2


@dataclass(slots=True)
class TimedWord:
    """A word on its way into a segment; `tokens` are those it was made of."""

    word: str
    start: float
    end: float
    probability: float
    tokens: list[int] = field(default_factory=list)
    logprobs: list[float] = field(default_factory=list)


@dataclass(slots=True)
class Draft:
    """A segment in the making; its times move while words are found."""

    seek: int
    start: float
    end: float
    tokens: list[int]
    words: list[TimedWord] | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """What the tokens of one window say."""

    drafts: list[Draft]
    next_seek: int
    ends_in_silence: bool
    """The model closed its last segment: nothing is said after it in this window."""
    has_unfinished: bool = False
    """The model began a last segment that is in no draft, since it is to be heard again."""


def split_by_timestamps(
    tokens: Sequence[int], *, timestamp_begin: int, seek: int, frames: int
) -> Split:
    """Cut the tokens of the window at `seek`, of which `frames` hold audio, into segments.

    Unlike in the reference, no time lies behind the window, and the next one always begins later: a
    last segment that is open from the window's very start is taken as it is, since hearing it again
    would lead here again.
    """
    begin, length = seek / FRAMES_PER_SECOND, frames / FRAMES_PER_SECOND

    def time(stamp: int) -> float:
        # The first token is text where the text begins with a prefix.
        return begin + min(max(0, stamp - timestamp_begin) * SECONDS_PER_TIMESTAMP, length)

    tokens = list(tokens)
    ends_in_silence = len(tokens) >= 2 and tokens[-2] < timestamp_begin <= tokens[-1]
    cuts = [
        i
        for i in range(1, len(tokens))
        if tokens[i] >= timestamp_begin and tokens[i - 1] >= timestamp_begin
    ]
    if not cuts:
        # Unlike in the reference, where the stamp that opens a text is taken for its end too.
        end = (
            time(tokens[-1]) if ends_in_silence and tokens[-1] > timestamp_begin else begin + length
        )
        return Split([Draft(seek, begin, end, tokens)], seek + frames, ends_in_silence)

    drafts = [
        Draft(seek, time(part[0]), time(part[-1]), part)
        for part in (tokens[first:cut] for first, cut in pairwise([0, *cuts]))
    ]
    rest = tokens[cuts[-1] :]
    if ends_in_silence:
        drafts.append(Draft(seek, time(rest[0]), time(rest[-1]), rest))
        return Split(drafts, seek + frames, ends_in_silence)
    # An unfinished segment is heard again from its start.
    last = (tokens[cuts[-1] - 1] - timestamp_begin) * FRAMES_PER_TIMESTAMP
    if last == 0:
        drafts.append(Draft(seek, begin, begin + length, rest))
        return Split(drafts, seek + frames, ends_in_silence)
    has_unfinished = any(token < timestamp_begin for token in rest)
    return Split(drafts, seek + min(last, frames), ends_in_silence, has_unfinished)
