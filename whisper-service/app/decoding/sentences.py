"""One segment for each sentence, so that subtitles read well; pure.

For what is said without punctuation a long silence ends a segment too, and where none comes for long, the longest pause.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..sentence_ends import ends_sentence, is_closing
from .timestamps import Draft, TimedWord

PAUSE_SECONDS = 1.0
LONGEST_SECONDS = 15.0
"""Of a segment with more than one word. Whole windows without punctuation, as in Thai, would be subtitles of 30 s."""


def split_sentences(drafts: Sequence[Draft], timestamp_begin: int) -> list[Draft]:
    """Cut drafts that have words at the ends of their sentences; the others stay as they are."""
    return [
        part
        for draft in drafts
        for part in _parts(draft, _sentences(draft.words or []), timestamp_begin)
    ]


def split_draft(
    draft: Draft, is_border: Callable[[TimedWord, TimedWord], bool], timestamp_begin: int
) -> Iterator[Draft]:
    """Cut a draft between each word and the next where `is_border` says so."""
    return _parts(draft, _groups(draft.words or [], is_border), timestamp_begin)


def _parts(
    draft: Draft, groups: Sequence[Sequence[TimedWord]], timestamp_begin: int
) -> Iterator[Draft]:
    if len(groups) < 2:
        yield draft
        return
    for n, words in enumerate(groups):
        tokens = [token for word in words for token in word.tokens]
        start, end = words[0].start, words[-1].end
        if n == 0:
            start = draft.start
            tokens = [t for t in draft.tokens[:1] if t >= timestamp_begin] + tokens
        if n == len(groups) - 1:
            end = draft.end
            tokens += [t for t in draft.tokens[-1:] if t >= timestamp_begin]
        yield replace(draft, start=start, end=end, tokens=tokens, words=list(words))


def _sentences(words: Sequence[TimedWord]) -> list[Sequence[TimedWord]]:
    return [short for group in _groups(words, _is_border) for short in _shortened(group)]


def _groups(
    words: Sequence[TimedWord], is_border: Callable[[TimedWord, TimedWord], bool]
) -> list[list[TimedWord]]:
    if not words:
        return [[]]
    groups, last = [[words[0]]], words[0]
    for following in words[1:]:
        is_near = following.start - last.end < PAUSE_SECONDS
        if is_near and is_closing(following.word):  # as a French quotation mark, which stands apart
            last = replace(following, word=last.word.rstrip() + following.word.strip())
        else:
            if is_border(last, following):
                groups.append([])
            last = following
        groups[-1].append(following)
    return groups


def _shortened(words: Sequence[TimedWord]) -> Iterator[Sequence[TimedWord]]:
    """Cut what goes on for too long at its longest pause away from the ends, of equal ones at the middle one."""
    if len(words) < 2 or words[-1].end - words[0].start <= LONGEST_SECONDS:
        yield words
        return
    start, seconds = words[0].start, words[-1].end - words[0].start

    def pause(n: int) -> tuple[bool, float, float]:
        from_middle = abs((words[n].start - start) / seconds - 0.5)
        silent = round(words[n].start - words[n - 1].end, 2)
        return from_middle <= 0.25, silent, -from_middle

    best = max(range(1, len(words)), key=pause)
    yield from _shortened(words[:best])
    yield from _shortened(words[best:])


def _is_border(word: TimedWord, following: TimedWord) -> bool:
    is_silent = following.start - word.end >= PAUSE_SECONDS
    return is_silent or ends_sentence(word.word, following.word)
