"""Words as people write them, between which a line may break.

faster-whisper takes each punctuation mark for the beginning of a word (`o` and `'clock`, `$10` and
`,000`, `aujourd` and `'hui`), and each letter in languages without spaces, vowel and tone marks among them.
"""

import re
import unicodedata
from collections.abc import Iterable

from ..scripts import WITHOUT_SPACES
from ..wire import Word

_VOWELS_BEHIND = "\u0e30\u0e32\u0e33\u0e45\u0eb0\u0eb2\u0eb3"
_VOWELS_BEFORE = "\u0e40\u0e41\u0e42\u0e43\u0e44\u0ec0\u0ec1\u0ec2\u0ec3\u0ec4"
"""Thai and Lao vowels that are written behind and before their consonant."""
_NEVER_FIRST = (
    "ーっゃゅょぁぃぅぇぉゎッャュョァィゥェォヮヵヶ々ゝゞヽヾ’”）》】〉」』〕、。，．！？：；…・"  # noqa: RUF001
    "\u0e2f\u0e46\u104a\u104b"
)
_NEVER_LAST = "“‘（《【〈「『〔"  # noqa: RUF001
"""What begins and ends no line in Japanese and Chinese (JIS X 4051); Thai repetition and ellipsis, Burmese full stops."""
_STACKING = "\u1039\u17d2"
"""Burmese and Khmer marks that put the next consonant under the one before."""
_CLOSING = re.compile(r"\s+[?!:;,.%\u00bb\u2026]+")
"""Punctuation that French sets apart with a space and never at the beginning of a line."""


def whole_words(words: Iterable[Word]) -> list[Word]:
    """Join what belongs to the word before it; what is blank is left out."""
    whole: list[Word] = []
    for word in words:
        if not word.word.strip():
            continue
        if whole and _continues(whole[-1].word, word.word):
            joined = {"word": whole[-1].word + word.word, "end": max(whole[-1].end, word.end)}
            whole[-1] = whole[-1].model_copy(update=joined)
        else:
            whole.append(word)
    return whole


def _continues(before: str, word: str) -> bool:
    last, first = before[-1], word[0]
    if first.isspace() or last.isspace():
        return _CLOSING.fullmatch(word) is not None
    if unicodedata.category(first).startswith("M") or first in _VOWELS_BEHIND + _NEVER_FIRST:
        return True
    if last in _VOWELS_BEFORE + _NEVER_LAST + _STACKING:
        return True
    return not (WITHOUT_SPACES.match(first) or WITHOUT_SPACES.match(last))
