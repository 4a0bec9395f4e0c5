"""Where sentences end, as far as punctuation tells; used to end subtitle cues.

Whisper writes punctuation in every language it knows, but a full stop also follows titles, initials
and numbers. A wrong break costs little (one more cue), so the rules stay few.
"""

import re

_MARKS = "".join(
    [
        ".!?\N{HORIZONTAL ELLIPSIS}",
        "\N{IDEOGRAPHIC FULL STOP}\N{HALFWIDTH IDEOGRAPHIC FULL STOP}",
        "\N{FULLWIDTH EXCLAMATION MARK}\N{FULLWIDTH QUESTION MARK}",
        "\N{ARABIC QUESTION MARK}\N{ARABIC FULL STOP}\N{ARMENIAN FULL STOP}",
        "\N{DEVANAGARI DANDA}\N{DEVANAGARI DOUBLE DANDA}\N{KHMER SIGN KHAN}",
    ]
)
_END = re.compile(rf"[{_MARKS}][^\w\s]*$")
_FULL_STOP = re.compile(r"\w\.[^\w\s]*$")
_INITIALS = re.compile(r"\W*(?:[^\W\d_]\.)+\W*")
_NUMBER = re.compile(r"\W*(?:\d\d?|[IVXLC]+)\.\W*")
_TITLE = re.compile(
    r"\W*(mrs?|ms|dr|prof|st|vs|gen|col|capt|lt|rev|sgt|hr|frl?|nr|mme|mlle|srta?|dra)\.\W*",
    re.IGNORECASE,
)


def ends_sentence(word: str, following: str) -> bool:
    """Whether a sentence ends between two words that follow each other.

    A title (`Dr.`), an initial (`J.`), a number that may be a day's, a century's or a king's (`24.`,
    `XIV.`), or a full stop before a word in lower case does not end one.
    """
    word, following = word.strip(), following.strip()
    if not _END.search(word):
        return False
    if not _FULL_STOP.search(word):
        return True
    goes_on = any(kind.fullmatch(word) for kind in (_TITLE, _INITIALS, _NUMBER))
    return not (goes_on or following[:1].islower())
