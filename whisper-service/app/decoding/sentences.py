"""One segment for each sentence, so that subtitles read well; pure.

A long silence ends a segment too, for what is said without punctuation.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from ..sentence_ends import ends_sentence, is_closing
from .timestamps import Draft, TimedWord

PAUSE_SECONDS = 1.0


def split_sentences(drafts: Sequence[Draft], timestamp_begin: int) -> list[Draft]:
    """Cut drafts that have words at the ends of their sentences; the others stay as they are."""
    return [part for draft in drafts for part in split_draft(draft, _is_border, timestamp_begin)]


def split_draft(
    draft: Draft, is_border: Callable[[TimedWord, TimedWord], bool], timestamp_begin: int
) -> Iterator[Draft]:
    """Cut a draft between each word and the next where `is_border` says so."""
    groups = _groups(draft.words or [], is_border)
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
        yield replace(draft, start=start, end=end, tokens=tokens, words=words)


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


def _is_border(word: TimedWord, following: TimedWord) -> bool:
    is_silent = following.start - word.end >= PAUSE_SECONDS
    return is_silent or ends_sentence(word.word, following.word)
