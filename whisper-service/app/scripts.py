"""Scripts that put no spaces between words, and so none between sentences."""

import re

WITHOUT_SPACES = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3000-\u30ff\u3400-\u9fff\uf900-\ufaff\uff00-\uffef"
    "\U00020000-\U0003ffff]"
)
"""A letter of Thai, Lao, Tibetan, Burmese, Khmer, Chinese or Japanese."""


def spaced(before: str, text: str) -> str:
    """A text that follows another one, with a space before it where its script wants one and the model wrote none."""
    if not before or not text or before[-1].isspace() or text[0].isspace():
        return text
    if WITHOUT_SPACES.match(before[-1]) or WITHOUT_SPACES.match(text[0]):
        return text
    return f" {text}"
