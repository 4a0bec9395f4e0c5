"""The reference Whisper's multilingual vocabulary: 51,865 tokens, 1,501 of them timestamps."""

from functools import cache
from pathlib import Path

from tokenizers import Tokenizer

from .grammar import LANGUAGES

SHIPPED = Path(__file__).parents[2] / "whisper-service" / "models" / "micro"

VOCABULARY = 51865
END = 50257  # <|endoftext|>
START = 50258  # <|startoftranscript|>
FIRST_LANGUAGE, LAST_LANGUAGE = 50259, 50357
TRANSLATE, TRANSCRIBE, START_OF_LM, PREVIOUS, NO_SPEECH, NO_TIMESTAMPS = range(50358, 50364)
FIRST_TIMESTAMP = 50364  # <|0.00|>; one each 20 ms up to <|30.00|>
TIMESTAMPS = 1501


class Tokens:
    """Text to tokens and back, by the `tokenizer.json` of a model folder."""

    def __init__(self, folder: Path = SHIPPED) -> None:
        self._tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.languages = {code: self._id(f"<|{code}|>") for code in LANGUAGES}

    def _id(self, token: str) -> int:
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise ValueError(f"the tokenizer has no {token}")
        return int(found)

    def encode(self, text: str) -> list[int]:
        """Return the tokens of a sentence, which Whisper writes after a space."""
        return list(self._tokenizer.encode(f" {text}", add_special_tokens=False).ids)

    @cache  # noqa: B019  (one tokenizer lives as long as the process)
    def characters(self, token: int) -> int:
        """Return how many characters a token writes; a part of a character counts as one."""
        return max(1, len(self._tokenizer.decode([token])))


def timestamp(position: int) -> int:
    """Return the token of a time in steps of 20 ms."""
    return FIRST_TIMESTAMP + min(position, TIMESTAMPS - 1)
