"""Timestamp tokens to segments, and where the next window begins; pure.

The rules are those of the reference implementation (openai/whisper, transcribe.py) in faster-whisper's
form (`_split_segments_by_timestamps`). Times are seconds, `seek` and sizes are frames of 10 ms.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

FRAMES_PER_SECOND = 100
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
    logprobs: list[float] | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """What the tokens of one window say."""

    drafts: list[Draft]
    next_seek: int
    ends_in_silence: bool
    """The model closed its last segment: nothing is said after it in this window."""


def split_by_timestamps(
    tokens: Sequence[int],
    *,
    timestamp_begin: int,
    seek: int,
    frames: int,
    offset: float | None = None,
) -> Split:
    """Cut the tokens of the window at `seek`, of which `frames` hold audio, into segments.

    `offset` is the time of the window's start where that is not `seek` itself.
    """
    if offset is None:
        offset = seek / FRAMES_PER_SECOND
    tokens = list(tokens)
    ends_in_silence = len(tokens) >= 2 and tokens[-2] < timestamp_begin <= tokens[-1]
    cuts = [
        i
        for i in range(1, len(tokens))
        if tokens[i] >= timestamp_begin and tokens[i - 1] >= timestamp_begin
    ]
    if not cuts:
        stamps = [token for token in tokens if token >= timestamp_begin]
        length = frames / FRAMES_PER_SECOND
        if stamps and stamps[-1] != timestamp_begin:
            length = (stamps[-1] - timestamp_begin) * SECONDS_PER_TIMESTAMP
        draft = Draft(seek=seek, start=offset, end=offset + length, tokens=tokens)
        return Split([draft], seek + frames, ends_in_silence)

    if ends_in_silence:
        cuts.append(len(tokens))
    drafts = []
    previous = 0
    for cut in cuts:
        part = tokens[previous:cut]
        drafts.append(
            Draft(
                seek=seek,
                start=offset + (part[0] - timestamp_begin) * SECONDS_PER_TIMESTAMP,
                end=offset + (part[-1] - timestamp_begin) * SECONDS_PER_TIMESTAMP,
                tokens=part,
            )
        )
        previous = cut
    if ends_in_silence:
        return Split(drafts, seek + frames, ends_in_silence)
    # An unfinished segment is heard again from its start.
    last = tokens[previous - 1] - timestamp_begin
    return Split(drafts, seek + last * FRAMES_PER_TIMESTAMP, ends_in_silence)
