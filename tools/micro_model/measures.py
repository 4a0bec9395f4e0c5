"""How far a transcription is from the truth: words, sentences, times."""

import re
from dataclasses import dataclass, field
from statistics import median

from .clips import Clip
from .sound import SAMPLE_RATE


def normalized(text: str) -> list[str]:
    """Return the words of a text without case and punctuation."""
    return re.sub(r"[^\w\s]", "", text.lower()).split()


def word_errors(reference: str, written: str) -> tuple[int, int]:
    """Return the least number of words to change, add or drop, and the words of the reference."""
    wanted, got = normalized(reference), normalized(written)
    row = list(range(len(got) + 1))
    for i, word in enumerate(wanted, 1):
        diagonal, row[0] = row[0], i
        for j, other in enumerate(got, 1):
            diagonal, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, diagonal + (word != other))
    return row[-1], len(wanted)


def word_starts(clip: Clip) -> list[tuple[str, float]]:
    """Return each word of a clip and when it starts, in seconds, where the voice told it.

    A word that stands in the text but has no mark of its own is left out: nothing tells when it was said.
    """
    marks = {said: at / SAMPLE_RATE for said, at in clip.marks[:-1]}
    words = [(match.start(), match.group()) for match in re.finditer(r"\S+", clip.text)]
    return [(word, marks[at]) for at, word in words if at in marks]


@dataclass
class Tally:
    """Counts of one kind of sound."""

    errors: int = 0
    words: int = 0
    right: int = 0
    sentences: int = 0
    times: list[float] = field(default_factory=list)

    def add(self, reference: str, written: str) -> None:
        """Count one text."""
        errors, words = word_errors(reference, written)
        self.errors += errors
        self.words += words
        self.right += errors == 0
        self.sentences += 1

    @property
    def error(self) -> float:
        """The word error rate."""
        return self.errors / max(1, self.words)

    def summary(self) -> str:
        """Return the figures in a few words."""
        text = f"{self.error:.3f} of {self.words} words, {self.right}/{self.sentences} right"
        if self.times:
            ordered = sorted(self.times)
            within = sum(time <= 0.1 for time in ordered) / len(ordered)
            text += f", times {1000 * median(ordered):.0f} ms, {within:.0%} within 100 ms"
        return text
