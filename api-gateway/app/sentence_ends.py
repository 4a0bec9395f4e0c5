"""Where sentences end, as far as punctuation tells; both services ask: for segments, and for subtitle cues.

Whisper writes punctuation in every language it knows, but a full stop also follows titles, initials
and numbers. A wrong break costs little (one segment or cue more), so the rules stay few.
"""

import re
import unicodedata

_WITHOUT_CASE = "".join(
    [
        "\N{IDEOGRAPHIC FULL STOP}\N{HALFWIDTH IDEOGRAPHIC FULL STOP}",
        "\N{FULLWIDTH EXCLAMATION MARK}\N{FULLWIDTH QUESTION MARK}",
        "\N{ARABIC QUESTION MARK}\N{ARABIC FULL STOP}",
        "\N{DEVANAGARI DANDA}\N{DEVANAGARI DOUBLE DANDA}\N{KHMER SIGN KHAN}\N{ETHIOPIC FULL STOP}",
        "\N{ETHIOPIC QUESTION MARK}\N{MYANMAR SIGN SECTION}\N{TIBETAN MARK SHAD}",
    ]
)
"""Marks of scripts that have no capital letters, so that what follows tells nothing."""
_MARKS = f".!?\N{HORIZONTAL ELLIPSIS}\N{ARMENIAN FULL STOP}{_WITHOUT_CASE}"
_CLOSING = re.compile("[^\\w\\s]*[»”’」』)）\\]…]")  # noqa: RUF001
"""What closes the sentence before it, though a space may stand between them, as in French."""
_END = re.compile(rf"[{_MARKS}][^\w\s]*$")
_FULL_STOP = re.compile(r"\w\.[^\w\s]*$")
_INITIALS = re.compile(r"\W*(?:[^\W\d_]\.)+\W*")
_LONE_LETTER = re.compile(r"\W*([^\W\d_a-zA-Z])\.\W*")
_VOWELS = frozenset("aeiouyаеёиоуыэюя")  # noqa: RUF001
_GREEK_QUESTION = re.compile("[;\N{GREEK QUESTION MARK}]$")
_GREEK = re.compile("[\u0370-\u03ff\u1f00-\u1fff]")
_NUMBER = re.compile(r"\W*(?:\d\d?|[IVXLC]+)\.\W*")
_ABBREVIATION = re.compile(
    r"\W*(mrs?|ms|dr|prof|st|sr|jr|vs|gen|col|capt|lt|rev|sgt|hr|frl?|nr|bzw|ca|mme|mlle|srt?a|sres|sras|dra)\.\W*",
    re.IGNORECASE,
)


def ends_sentence(word: str, following: str) -> bool:
    """Whether a sentence ends between two words that follow each other.

    A title (`Dr.`), an initial (`J.`), a number that may be a day's, a century's or a king's (`24.`,
    `XIV.`), a number before a number, or a mark before a word in lower case does not end one. A vowel that is a
    word by itself (Vietnamese `ạ.`, Italian `è.`) does, and so does Greek's question mark, which looks like `;`.
    """
    word, begins = word.strip(), re.sub(r"^\W+", "", following)[:1]
    if _GREEK_QUESTION.search(word):
        return begins.isupper() and _GREEK.match(begins) is not None
    mark = _END.search(word)
    if not mark or word[mark.start()] in _WITHOUT_CASE:
        return mark is not None
    if (
        begins.islower() and begins.title() != begins
    ):  # Georgian letters are small, and begin sentences
        return False
    if not _FULL_STOP.search(word):
        return True
    if following[:1].isascii() and following[:1].isalnum():
        return False  # without a space: "No.1" in Japanese
    goes_on = any(kind.fullmatch(word) for kind in (_ABBREVIATION, _NUMBER))
    goes_on = goes_on or (_INITIALS.fullmatch(word) is not None and word.lower() != word.upper())
    goes_on = goes_on and not _is_lone_vowel(word)
    return not (goes_on or (word[-2:-1].isdigit() and begins.isdigit()))


def _is_lone_vowel(word: str) -> bool:
    """Of those with an accent or in Cyrillic: a plain one may be an abbreviation (`Frankfurt a. M.`)."""
    letter = _LONE_LETTER.fullmatch(word)
    return letter is not None and unicodedata.normalize("NFD", letter[1])[0] in _VOWELS


def is_closing(word: str) -> bool:
    """Whether a word is but a closing mark, which belongs to the sentence before it."""
    return _CLOSING.fullmatch(word.strip()) is not None
