"""One segment for each sentence, so that subtitles read well; pure.

A long silence ends a segment too, for what is said without punctuation.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace

from .timestamps import Draft, TimedWord

PAUSE_SECONDS = 1.0
_END = re.compile(r"[.!?…。！？]+[\"'”’»)\]]*$")  # noqa: RUF001
_ABBREVIATION = re.compile(
    r"^\W*(\w|Mr|Mrs|Ms|Dr|St|Prof|Sr|Jr|vs|etc|Hr|Fr|Nr|bzw|ca|M|Mme|Sra)\.$"
)
_WIDE_END = re.compile(r"[。！？]")  # noqa: RUF001


def split_sentences(drafts: Sequence[Draft], timestamp_begin: int) -> list[Draft]:
    """Cut drafts that have words at the ends of their sentences; the others stay as they are."""
    return [part for draft in drafts for part in _split(draft, timestamp_begin)]


def _split(draft: Draft, timestamp_begin: int) -> Iterator[Draft]:
    groups = _sentences(draft.words or [])
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


def _sentences(words: Sequence[TimedWord]) -> list[list[TimedWord]]:
    groups: list[list[TimedWord]] = [[]]
    for n, word in enumerate(words):
        groups[-1].append(word)
        if n + 1 < len(words):
            following = words[n + 1]
            is_silent = following.start - word.end >= PAUSE_SECONDS
            if is_silent or _ends_sentence(word.word.strip(), following.word.strip()):
                groups.append([])
    return groups


def _ends_sentence(word: str, following: str) -> bool:
    """Whether `word` ends a sentence: not an abbreviation, a number, or before a small letter."""
    if not _END.search(word) or _ABBREVIATION.match(word):
        return False
    if _WIDE_END.search(word):
        return True
    begins = re.sub(r"^\W+", "", following)[:1]
    return (
        bool(begins) and not begins.islower() and not (word[-2:-1].isdigit() and begins.isdigit())
    )
