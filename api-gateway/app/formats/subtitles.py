"""SubRip and WebVTT, laid out as people want them.

The options are those of Whisper's own writers (openai/whisper, utils.py, `SubtitlesWriter`):
`max_line_width`, `max_line_count`, `max_words_per_line`, `highlight_words`, with two differences.
A cue never runs on past the end of a sentence, and `max_words_per_line` also holds beside
`max_line_width`. All of it needs the times of words; a segment without them is one cue.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from html import escape

from ..sentence_ends import ends_sentence
from ..wire import Segment, Transcript, Word
from .style import SubtitleStyle
from .whole_words import whole_words

LONG_PAUSE = 3.0
"""Seconds of silence over which no cue stays on the screen."""
SHORTEST = 300
"""Milliseconds that a cue needs to be seen; alignment gives some words no length at all."""


@dataclass(frozen=True)
class Cue:
    """What stands on the screen from `start` to `end`, in milliseconds.

    `words` keep the space or line break before them: joined, they are the cue's text.
    """

    start: int
    end: int
    words: tuple[str, ...]
    highlighted: int | None = None


def srt(segments: Iterable[Segment], style: SubtitleStyle, duration: float = 0.0) -> str:
    """SubRip: numbered cues, times with a comma, a blank line after each cue."""
    return "".join(
        f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n{_text(cue, _plain)}\n\n"
        for number, cue in enumerate(cues(segments, style, duration), start=1)
    )


def vtt(segments: Iterable[Segment], style: SubtitleStyle, duration: float = 0.0) -> str:
    """WebVTT: its header, times with a point and always hours, markup characters escaped."""
    return "WEBVTT\n\n" + "".join(
        f"{_time(cue.start, '.')} --> {_time(cue.end, '.')}\n{_text(cue, _escaped)}\n\n"
        for cue in cues(segments, style, duration)
    )


WRITERS: dict[str, Callable[[Transcript, SubtitleStyle], str]] = {
    "text": lambda transcript, _: f"{transcript.text}\n",
    "srt": lambda transcript, style: srt(transcript.segments, style, transcript.duration),
    "vtt": lambda transcript, style: vtt(transcript.segments, style, transcript.duration),
}
"""Of the response formats that are plain text."""


def cues(segments: Iterable[Segment], style: SubtitleStyle, duration: float = 0.0) -> list[Cue]:
    """The cues of a transcript in order; none overlaps the one before it.

    The last one may stay until the file ends, after `duration` seconds.
    """
    in_order: list[Cue] = []
    end = 0
    for stretch in _stretches(segments, over_segments=_runs_on(style)):
        for words in _cue_words(stretch, style):
            for cue in _shown(words, style.highlight_words):
                start = max(cue.start, end)
                end = max(cue.end, start + 1)
                in_order.append(replace(cue, start=start, end=end))
    return in_order if style.highlight_words else _seen(in_order, milliseconds(duration))


def _seen(cues: list[Cue], until: int) -> list[Cue]:
    """Give a cue that would flash by some of the silence behind it, else of the cue before it."""
    seen: list[Cue] = []
    for position, cue in enumerate(cues):
        following = cues[position + 1].start if position + 1 < len(cues) else until
        start, end = cue.start, max(cue.end, min(cue.start + SHORTEST, following))
        if end - start < SHORTEST and seen:
            start = min(start, max(end - SHORTEST, seen[-1].start + SHORTEST))
            seen[-1] = replace(seen[-1], end=min(seen[-1].end, start))
        seen.append(replace(cue, start=start, end=end))
    return seen


def milliseconds(seconds: float) -> int:
    """Rounded before anything is split off, so that 59.9996 s is one minute."""
    return round(seconds * 1000)


def _runs_on(style: SubtitleStyle) -> bool:
    return style.max_line_width is not None and style.max_line_count is not None


def _stretches(segments: Iterable[Segment], *, over_segments: bool) -> Iterator[list[Word]]:
    """Words between two places where a cue must end: sentences, long pauses, else segments."""
    stretch: list[Word] = []
    for segment in segments:
        words = whole_words(segment.words or [_as_word(segment)])
        for position, word in enumerate(words):
            if stretch and (
                (position == 0 and not over_segments)
                or ends_sentence(stretch[-1].word, word.word)
                or word.start - stretch[-1].end > LONG_PAUSE
            ):
                yield stretch
                stretch = []
            stretch.append(word)
    if stretch:
        yield stretch


def _as_word(segment: Segment) -> Word:
    return Word(word=segment.text, start=segment.start, end=segment.end, probability=1.0)


def _cue_words(stretch: list[Word], style: SubtitleStyle) -> Iterator[list[Word]]:
    """Fill lines, then cues; a word that begins a line has the line break before it."""
    lines = _lines(stretch, style.max_line_width or 1000, style.max_words_per_line or 1000)
    count = style.max_line_count
    if count is None:
        count = 1 if style.max_words_per_line and not style.max_line_width else len(lines)
    for first in range(0, len(lines), count):
        words: list[Word] = []
        for line in lines[first : first + count]:
            begin = line[0].word.lstrip()
            words.append(line[0].model_copy(update={"word": f"\n{begin}" if words else begin}))
            words += line[1:]
        yield words


def _lines(words: list[Word], max_width: int, max_words: int) -> list[list[Word]]:
    lines: list[list[Word]] = []
    width = 0
    for word in words:
        text = re.sub(r"\s+", " ", word.word.rstrip())
        if lines and width + len(text) <= max_width and len(lines[-1]) < max_words:
            lines[-1].append(word.model_copy(update={"word": text}))
            width += len(text)
        else:
            lines.append([word.model_copy(update={"word": text.lstrip()})])
            width = len(text.lstrip())
    return lines


def _shown(words: list[Word], highlight: bool) -> Iterator[Cue]:
    """One cue, or one for each word spoken and for each gap between two of them."""
    texts = tuple(word.word for word in words)
    whole = Cue(milliseconds(words[0].start), milliseconds(words[-1].end), texts)
    if not highlight:
        yield whole
        return
    last = whole.start
    for position, word in enumerate(words):
        start, end = milliseconds(word.start), milliseconds(word.end)
        if start > last:
            yield Cue(last, start, texts)
        yield Cue(start, end, texts, highlighted=position)
        last = end


def _text(cue: Cue, written: Callable[[str], str]) -> str:
    words = [written(word) for word in cue.words]
    if cue.highlighted is not None:
        spoken = words[cue.highlighted]
        words[cue.highlighted] = re.sub(r"^(\s*)(.*)$", r"\1<u>\2</u>", spoken)
    return "".join(words)


def _plain(text: str) -> str:
    return re.sub("--+>", "->", text)


def _escaped(text: str) -> str:
    return escape(text, quote=False)


def _time(milliseconds: int, mark: str) -> str:
    seconds, thousandths = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{thousandths:03}"
