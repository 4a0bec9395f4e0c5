"""Why a segment may be wrong: reasons that are told with it; pure.

Nothing is judged by phrases or by language. `language_switch` is found elsewhere, since it takes the
model to hear it.
"""

import re
from collections.abc import Sequence
from itertools import groupby
from unicodedata import category

from .attempt import Outcome, Thresholds

OUTSIDE_SHARE = 0.2
"""A segment of which less than this lies in speech was probably invented in silence."""
REPEATS = 4
"""A word or phrase said this often in a row is repetition, however short the segment is."""

TOO_WEAK = frozenset({"no_speech"})
"""No reason to leave a text out: Whisper takes a window for silence only when its text is unlikely too."""


def doubts(
    *,
    text: str,
    outcome: Outcome,
    thresholds: Thresholds,
    spoken_share: float | None,
) -> list[str]:
    """Reasons to doubt a segment, of whose sound `spoken_share` is speech; None where nobody looked."""
    reasons = []
    is_repeated = outcome.compression_ratio > thresholds.compression_ratio or is_repetitive(text)
    if is_repeated or outcome.cut_off:  # more text than anybody says in the shortest window
        reasons.append("repetition")
    if outcome.avg_logprob < thresholds.log_prob:
        reasons.append("low_logprob")
    if outcome.no_speech_prob > thresholds.no_speech:
        reasons.append("no_speech")
    if spoken_share is not None and spoken_share < OUTSIDE_SHARE:
        reasons.append("outside_speech")
    if outcome.has_switched:
        reasons.append("language_switch")
    return reasons


def is_left_out(reasons: Sequence[str]) -> bool:
    """Whether a request that wants no doubtful text goes without a segment of these reasons."""
    return any(reason not in TOO_WEAK for reason in reasons)


def is_repetitive(text: str) -> bool:
    """Whether one word, or two or three in turn, come REPEATS times in a row."""
    words = _words(text.lower())
    for size in (1, 2, 3):
        for offset in range(size):
            grams = [tuple(words[n : n + size]) for n in range(offset, len(words) - size + 1, size)]
            if any(len(list(run)) >= REPEATS for _, run in groupby(grams)):
                return True
    return False


def _words(text: str) -> list[str]:
    """Letters with their marks, such as the vowels of Hindi, and numbers with their dots and commas."""
    whole_numbers = re.sub(r"(?<=\d)[.,:](?=\d)", "_", text)
    return "".join(
        letter if letter.isalnum() or letter == "_" or category(letter).startswith("M") else " "
        for letter in whole_numbers
    ).split()


def spoken_seconds(start: float, end: float, speech: Sequence[tuple[float, float]]) -> float:
    """How much of a stretch is speech."""
    return sum(max(0.0, min(end, b) - max(start, a)) for a, b in speech)
