"""Where words are: from the path of an alignment to words inside their segments; pure.

The rules are those of the reference implementation (openai/whisper, timing.py) in faster-whisper's
form (`find_alignment`, `add_word_timestamps`), with two differences: no word reaches from one segment
into the next, where the reference would shift the words of all that follow, and words never overlap
and never leave the audio. Times are seconds.
"""

from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate, chain, pairwise, takewhile
from typing import Any
from unicodedata import category

import numpy as np
from faster_whisper.tokenizer import Tokenizer
from numpy.typing import NDArray

from ..mel import FRAMES_PER_SECOND
from .attempt import Alignment
from .timestamps import Draft, TimedWord

PREPENDED = "\"'“¿([{-"
"""Punctuation that belongs to the word after it."""
APPENDED = "\"'.。,，!！?？:：”)]}、"  # noqa: RUF001
"""Punctuation that belongs to the word before it."""
SENTENCE_ENDS = ".。!！?？"  # noqa: RUF001
SPACELESS_LANGUAGES = frozenset({"km", "bo"})
"""Languages that write none between words, beside those of which faster-whisper knows it."""
BROKEN = "�"
"""What stands for bytes that are no character."""
_ALIGNED_PER_SECOND = 50
_USUAL_LONGEST = 0.7


def aligned_words(
    alignment: Alignment, tokenizer: Tokenizer, sizes: Sequence[int]
) -> list[list[TimedWord]]:
    """Words of each segment of a window, with times from its start; punctuation stands alone at first.

    The segments have `sizes` tokens of text, one after the other.
    """
    if not alignment.tokens:
        return [[] for _ in sizes]
    path = np.array(alignment.pairs)
    jumps = np.concatenate([[True], np.diff(path[:, 0]).astype(bool)])
    times = path[jumps, 1] / _ALIGNED_PER_SECOND
    ends = list(accumulate(sizes))
    return [
        _segment_words(alignment, tokenizer, times, range(end - size, end))
        for size, end in zip(sizes, ends, strict=True)
    ]


def _segment_words(
    alignment: Alignment, tokenizer: Tokenizer, times: NDArray[Any], own: range
) -> list[TimedWord]:
    words, word_tokens = _split(list(alignment.tokens[own.start : own.stop]), tokenizer)
    borders = own.start + np.cumsum([0, *map(len, word_tokens)])
    probabilities = alignment.probabilities
    return [
        TimedWord(
            word=word,
            start=float(times[begin]),
            end=float(times[end]),
            probability=float(np.mean(probabilities[begin:end])),
            tokens=list(part),
            logprobs=[float(np.log(max(p, 1e-10))) for p in probabilities[begin:end]],
        )
        for word, part, begin, end in zip(
            words, word_tokens, borders[:-1], borders[1:], strict=True
        )
    ]


def _split(tokens: list[int], tokenizer: Tokenizer) -> tuple[list[str], list[list[int]]]:
    """Split into words; a character of which bytes are missing belongs to the word before it.

    faster-whisper finds no words from such a character on, and its text would be lost with them.
    """
    words, parts = list[str](), list[list[int]]()
    has_spaces = tokenizer.language_code not in SPACELESS_LANGUAGES
    split = tokenizer.split_to_word_tokens if has_spaces else tokenizer.split_tokens_on_unicode
    while tokens:
        found, found_tokens = split(tokens)
        for word, part in zip(found, found_tokens, strict=True):
            if (
                words and word and category(word[0]).startswith("M")
            ):  # a vowel sign belongs to its letter
                words[-1] += word
                parts[-1] = [*parts[-1], *part]
            else:
                words.append(word)
                parts.append(part)
        tokens = tokens[sum(map(len, found_tokens)) :]
        broken = list(takewhile(lambda token: BROKEN in tokenizer.decode([token]), tokens))
        if broken and words:
            words[-1] += tokenizer.decode(broken)
            parts[-1] = [*parts[-1], *broken]
        elif broken:
            words.append(tokenizer.decode(broken))
            parts.append(broken)
        tokens = tokens[len(broken) :]
    return words, parts


def add_words(
    drafts: Sequence[Draft],
    words: Sequence[list[TimedWord]],
    *,
    seek: int,
    frames: int,
    last_speech: float,
) -> None:
    """Give each draft of the window of `frames` at `seek` its `words`; `last_speech` ended before it.

    Words that are far too long beside their neighbours are shortened, since alignment stretches the
    first and the last word of a sentence over the silence around it.
    """
    whole_window = list(chain.from_iterable(words))
    usual, longest = _durations(whole_window)
    _shorten_at_sentence_ends(whole_window, longest)
    offset, until = seek / FRAMES_PER_SECOND, (seek + frames) / FRAMES_PER_SECOND
    for draft, spoken in zip(drafts, words, strict=True):
        _merge_punctuation(spoken)
        own = [
            replace(word, start=round(offset + word.start, 2), end=round(offset + word.end, 2))
            for word in spoken
            if word.word
        ]
        if own:
            _fit(draft, own, usual, longest, last_speech, until)
            last_speech = draft.end
        draft.words = own


def _durations(words: Sequence[TimedWord]) -> tuple[float, float]:
    """The usual duration of a word and the longest that is believed at the border of a sentence."""
    durations = [word.end - word.start for word in words if word.end != word.start]
    usual = min(_USUAL_LONGEST, float(np.median(durations))) if durations else 0.0
    return usual, usual * 2


def _shorten_at_sentence_ends(words: Sequence[TimedWord], longest: float) -> None:
    for before, word in pairwise(words):
        if word.end - word.start > longest:
            if word.word in SENTENCE_ENDS:
                word.end = word.start + longest
            elif before.word in SENTENCE_ENDS:
                word.start = word.end - longest


def _merge_punctuation(words: Sequence[TimedWord]) -> None:
    """Join punctuation to its word; what was joined is left empty, as in the reference."""
    following = len(words) - 1
    for n in range(len(words) - 2, -1, -1):
        word = words[n]
        if word.word.startswith(" ") and word.word.strip() in PREPENDED:
            _join(word, words[following], into=words[following])
        else:
            following = n
    previous = 0
    for n in range(1, len(words)):
        word = words[n]
        if not words[previous].word.endswith(" ") and word.word in APPENDED:
            _join(words[previous], word, into=words[previous])
        else:
            previous = n


def _join(first: TimedWord, second: TimedWord, *, into: TimedWord) -> None:
    text, tokens = first.word + second.word, first.tokens + second.tokens
    logprobs = first.logprobs + second.logprobs
    for word in (first, second):
        word.word, word.tokens, word.logprobs = "", [], []
    into.word, into.tokens, into.logprobs = text, tokens, logprobs


def _fit(
    draft: Draft,
    words: list[TimedWord],
    usual: float,
    longest: float,
    last_speech: float,
    until: float,
) -> None:
    """Settle the borders between a draft's own times and those of its first and last word.

    Unlike in the reference, the last word ends with the window (`until`) at the latest: the next look
    begins where it ends.
    """
    first, last = words[0], words[-1]
    if first.end - last_speech > usual * 4 and (
        first.end - first.start > longest
        or (len(words) > 1 and words[1].end - first.start > longest * 2)
    ):
        if len(words) > 1 and words[1].end - words[1].start > longest:
            first.end = words[1].start = max(words[1].end / 2, words[1].end - longest)
        first.start = max(0.0, first.end - longest)
    if draft.start < first.end and draft.start - 0.5 > first.start:
        first.start = max(0.0, min(first.end - usual, draft.start))
    else:
        draft.start = first.start
    if draft.end > last.start and draft.end + 0.5 < last.end:
        last.end = min(max(last.start + usual, draft.end), until)
    else:
        draft.end = last.end = min(last.end, until)


def tidy(words: Sequence[TimedWord], *, start: float, end: float) -> None:
    """Make times monotonic and keep them between `start` and `end`; good ones stay as they are."""
    earliest = start
    for word in words:
        word.start = min(max(word.start, earliest), end)
        word.end = min(max(word.end, word.start), end)
        earliest = word.end


# --- words that nobody said ---------------------------------------------------------------------


def _anomaly(word: TimedWord) -> float:
    """How unlike a real word it is: improbable, very short or very long (the reference's numbers)."""
    duration = word.end - word.start
    score = 1.0 if word.probability < 0.15 else 0.0
    if duration < 0.133:
        score += (0.133 - duration) * 15
    if duration > 2.0:
        score += duration - 2.0
    return score


def is_anomalous(draft: Draft | None) -> bool:
    """Whether a segment's first words look invented."""
    if draft is None or not draft.words:
        return False
    punctuation = PREPENDED + APPENDED
    words = [word for word in draft.words if word.word not in punctuation][:8]
    score = sum(_anomaly(word) for word in words)
    return score >= 3 or score + 0.01 >= len(words)
