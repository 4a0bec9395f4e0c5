"""A small parallel grammar: a draw gives one sentence with the same meaning in four languages.

So the same draw serves transcription (any language) and translation into English. `grammar.txt` holds
the words and sentences; `{name2}` is a second draw from the slot `name`, `{digits}` are 4 to 8 digits.
"""

import math
import random
import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LANGUAGES = ("en", "de", "fr", "es")

Texts = dict[str, str]  # language -> text
Span = tuple[int, int]  # first character, and the one behind the last
UNSEEN_SHARE = 40  # one sentence in so many is kept for the evaluation
UNSEEN_FROM = 300
"""Sentences that a pattern must make for some of them to be kept. Of fewer, the model learns which are never said:
it had heard five of the six devices turned off, and wrote one of them whenever the sixth was."""


@cache
def _tables() -> tuple[dict[str, list[Texts]], list[tuple[int, Texts]]]:
    """Return the slots, and the sentence patterns with their weights."""
    slots: dict[str, list[Texts]] = {}
    for line in Path(__file__).with_name("grammar.txt").read_text(encoding="utf-8").splitlines():
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            rows = slots.setdefault(line.strip("[]"), [])
            continue
        *weight, texts = re.split(r"(?<=^\d) \| ", line, maxsplit=1)
        forms = texts.split(" | ") if " | " in texts else [texts] * len(LANGUAGES)
        rows.append(dict(zip(LANGUAGES, forms, strict=True)) | {"weight": "".join(weight)})
    patterns = [(int(row["weight"]), row) for row in slots.pop("sentences")]
    return slots, patterns


def draw(rng: random.Random) -> Texts:
    """Return one sentence in each language."""
    slots, patterns = _tables()
    ((_, pattern),) = rng.choices(patterns, [weight for weight, _ in patterns])
    picks = {name: rng.choice(slots[_slot(name)]) for name in _names(pattern) if name != "digits"}
    return _texts(pattern, picks, [rng.choice(slots["digit"]) for _ in range(rng.randint(4, 8))])


def covering() -> Iterator[Texts]:
    """Yield sentences in which every word of every slot stands in every place where it can."""
    slots, patterns = _tables()
    for _, pattern in patterns:
        names = [name for name in _names(pattern) if name != "digits"]
        first = {name: slots[_slot(name)][0] for name in names}
        yield _texts(pattern, first, slots["digit"])
        yield from (_texts(pattern, first, [digit, digit]) for digit in slots["digit"])
        for name in names:
            yield from (_texts(pattern, first | {name: pick}, []) for pick in slots[_slot(name)])


@cache
def counterparts(english: str, text: str, language: str) -> list[tuple[Span, Span]]:
    """Return which characters of `text` the slots' words in the English sentence stand for.

    Both are what `draw` gave together; nothing is returned for any other pair.
    """
    for form in _forms(language):
        meant, said = form.english.fullmatch(english), form.own.fullmatch(text)
        if meant and said:
            break
    else:
        return []
    spans = []
    for name in form.names:
        if name == "digits":
            own, other = (list(re.finditer(r"\w+", match["digits"])) for match in (meant, said))
            spans += [
                (_moved(a, meant.start(name)), _moved(b, said.start(name)))
                for a, b in zip(own, other, strict=True)
            ]
        else:
            spans.append((meant.span(name), said.span(name)))
    return spans


def _moved(match: "re.Match[str]", by: int) -> Span:
    """Return where a match lies, counted from `by` characters before."""
    return match.start() + by, match.end() + by


@dataclass(frozen=True)
class _Form:
    """A sentence pattern as two expressions with a group for each slot."""

    names: list[str]
    english: "re.Pattern[str]"
    own: "re.Pattern[str]"
    sentences: float


@cache
def _forms(language: str) -> list[_Form]:
    _, patterns = _tables()
    return [
        _Form(
            _names(pattern),
            _expression(pattern, "en"),
            _expression(pattern, language),
            _sentences(pattern),
        )
        for _, pattern in patterns
    ]


def _sentences(pattern: Texts) -> float:
    slots, _ = _tables()
    sizes = {name: len(slots[_slot(name)]) for name in _names(pattern)}
    return math.inf if "digits" in sizes else math.prod(sizes.values())


def _expression(pattern: Texts, language: str) -> "re.Pattern[str]":
    slots, _ = _tables()
    whole = re.escape(pattern[language])
    for name in _names(pattern):
        words = "|".join(re.escape(row[language]) for row in slots[_slot(name)])
        group = f"(?:{words})(?:, (?:{words}))*" if name == "digits" else words
        whole = whole.replace(re.escape(f"{{{name}}}"), f"(?P<{name}>{group})")
    return re.compile(whole, re.IGNORECASE)


def _names(pattern: Texts) -> list[str]:
    return re.findall(r"{(\w+)}", pattern["en"])


def _slot(name: str) -> str:
    return "digit" if name == "digits" else name.removesuffix("2")


def _texts(pattern: Texts, picks: dict[str, Texts], digits: list[Texts]) -> Texts:
    texts = {}
    for language in LANGUAGES:
        words = {name: pick[language] for name, pick in picks.items()}
        words["digits"] = ", ".join(digit[language] for digit in digits)
        text = pattern[language].format(**words)
        texts[language] = text[0].upper() + text[1:]
    return texts


def is_unseen(texts: Texts) -> bool:
    """Say whether a sentence is kept for the evaluation; those of which there are few never are."""
    english = texts["en"]
    if len(english) <= 28 or zlib.crc32(english.encode()) % UNSEEN_SHARE:
        return False
    forms = (form for form in _forms("en") if form.english.fullmatch(english))
    return next(forms).sentences >= UNSEEN_FROM
