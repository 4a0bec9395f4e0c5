"""Which language is spoken: votes over windows, the languages that a request expects; pure."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..errors import InvalidRequest
from ..wire import Options

Probabilities = Mapping[str, float]
ENGLISH_ONLY = {"en": 1.0}
"""What a model that knows English only hears, whatever is said."""


@dataclass(frozen=True, slots=True)
class HeardLanguage:
    """The language of a request and how sure that is, 0 to 1."""

    code: str
    probability: float
    is_expected: bool = True
    """False when it is none of the languages that the request named, and was taken all the same."""


def is_settled(heard: Sequence[Probabilities], options: Options) -> bool:
    """Whether no further window needs to be heard: one was clear, or there were enough."""
    return (
        len(heard) >= options.language_detection_segments
        or max(heard[-1].values()) > options.language_detection_threshold
    )


def choose_language(heard: Sequence[Probabilities], options: Options) -> HeardLanguage:
    """The language that the windows speak for.

    The last window decides when it was clear, else the majority (faster-whisper's rule, which is the
    likeliest language's best probability). Raises InvalidRequest when that is none of `languages`
    and the request wants such files refused. Of `languages` the model knows one at least, see `make_plan`.
    """
    code, probability = _vote(heard, options.language_detection_threshold)
    if not options.languages or code in options.languages:
        return HeardLanguage(code, probability)
    match options.on_other_language:
        case "allow":
            return HeardLanguage(code, probability, is_expected=False)
        case "nearest":
            expected = [
                {c: p for c, p in one.items() if c in (options.languages or [])} for one in heard
            ]
            totals = Counter[str]()
            for one in expected:
                totals.update(one)
            nearest = max(totals, key=lambda c: totals[c])
            return HeardLanguage(nearest, max(one.get(nearest, 0.0) for one in expected))
        case "reject":
            named = ", ".join(options.languages)
            message = f"The audio is in '{code}', not in one of: {named}"
            raise InvalidRequest(message, param="languages")


def likely_language(heard: Probabilities, options: Options) -> str:
    """The language to decode one window in: as `choose_language` has it, refused ones as they are."""
    try:
        return choose_language([heard], options).code
    except InvalidRequest:
        return max(heard, key=lambda code: heard[code])


def _vote(heard: Sequence[Probabilities], threshold: float) -> tuple[str, float]:
    last = max(heard[-1], key=lambda code: heard[-1][code])
    if heard[-1][last] > threshold:
        return last, heard[-1][last]
    tops = [max(one, key=lambda code: one[code]) for one in heard]
    code = Counter(tops).most_common(1)[0][0]
    return code, max(one[code] for one, top in zip(heard, tops, strict=True) if top == code)
