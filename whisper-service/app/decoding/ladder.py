"""The temperature ladder: is an attempt good enough, and which is the best when none is; pure.

As the reference implementation defines it, in faster-whisper's form (`generate_with_fallback`).
"""

import zlib
from collections.abc import Sequence

from .attempt import Outcome, Thresholds

_DEVANAGARI, _PHONETIC = "\u0900", "\u1d00"
TEMPERATURES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def temperatures(chosen: float | None) -> tuple[float, ...]:
    """0 and unset are the whole ladder, a number above 0 is itself."""
    return (chosen,) if chosen else TEMPERATURES


def compression_ratio(text: str) -> float:
    """How much of the text is repetition: its UTF-8 length by its zlib length.

    Letters of the scripts from Devanagari to Khmer count as one byte: two of their three are always the same, and
    plain Tamil or Hindi would be taken for a loop. The reference counts all three.
    """
    data = b"".join(
        bytes([0x80 | ord(letter) & 0x7F]) if _DEVANAGARI <= letter < _PHONETIC else letter.encode()
        for letter in text
    )
    return len(data) / len(zlib.compress(data))


def average_logprob(score: float, tokens: int, length_penalty: float) -> float:
    """Mean log-probability per token, the end token included, from CTranslate2's score."""
    return float(score * tokens**length_penalty / (tokens + 1))


def needs_fallback(
    *, ratio: float, avg_logprob: float, no_speech_prob: float, thresholds: Thresholds
) -> bool:
    """Whether the next temperature is to be tried; not for what is probably silence."""
    unlikely = avg_logprob < thresholds.log_prob
    if unlikely and no_speech_prob > thresholds.no_speech:
        return False
    return unlikely or ratio > thresholds.compression_ratio


def best_of_the_failed(outcomes: Sequence[Outcome], thresholds: Thresholds) -> Outcome:
    """The likeliest attempt; one that does not repeat itself goes before all that do."""
    calm = [o for o in outcomes if o.compression_ratio <= thresholds.compression_ratio]
    return max(calm or outcomes, key=lambda outcome: outcome.avg_logprob)
