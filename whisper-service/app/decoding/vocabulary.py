"""What a model's tokens mean: prompts, suppressed tokens, text, and the words that tokens make.

One per model, used by all requests at once: everything here is read only or cached by value.
"""

import functools
from collections.abc import Sequence
from pathlib import Path

import tokenizers
from faster_whisper.tokenizer import Tokenizer
from faster_whisper.transcribe import get_suppressed_tokens

CONTEXT_TOKENS = 448
"""Positions of Whisper's decoder: prompt and text together."""
TIMESTAMPS = 1501
"""One for each 20 ms of 30 s; the last tokens of each Whisper."""
WHISPERS_SIZES = {51864, 51865, 51866}
"""English alone, multilingual, and large-v3 with its hundredth language."""
PROMPT_TOKENS = CONTEXT_TOKENS // 2 - 1
"""How much of hotwords and previous text together is told to a window."""
PREFIX_TOKENS = CONTEXT_TOKENS // 4
"""How long a prefix may be, so that half of the text's room is left."""


class Vocabulary:
    """Tokens of one model."""

    def __init__(self, directory: Path, *, multilingual: bool) -> None:
        """Read `tokenizer.json`; raises ValueError when the directory has none, or one that is damaged."""
        file = directory / "tokenizer.json"
        if not file.is_file():
            raise ValueError("the model has no tokenizer.json")
        try:
            self._tokenizer = tokenizers.Tokenizer.from_file(str(file))
        except Exception as exc:  # it raises nothing more exact
            raise ValueError(f"its tokenizer.json cannot be read: {exc}") from exc
        # "<|endoftext|>" in somebody's prompt is text like any other.
        self._tokenizer.encode_special_tokens = True
        self.multilingual = multilingual
        plain = self.tokenizer("en", "transcribe")
        self.eot: int = plain.eot
        self.timestamp_begin: int = plain.timestamp_begin
        self.size: int = self._tokenizer.get_vocab_size()

    def check_fits(self, tokens: int) -> None:
        """Raise ValueError if a model with so many tokens cannot be one of this vocabulary.

        Of large-v3 each token from `<|yue|>` on stands one place behind that of earlier models. A table may be
        longer than the vocabulary, where somebody has added tokens or filled it up.
        """
        own = self.timestamp_begin + TIMESTAMPS
        if tokens < own or tokens in WHISPERS_SIZES - {own}:
            raise ValueError(
                f"its tokenizer.json is another model's: {own} tokens, and the model has {tokens}"
            )

    @functools.lru_cache(maxsize=256)  # noqa: B019 (one vocabulary lives as long as its model)
    def tokenizer(self, language: str, task: str) -> Tokenizer:
        """faster-whisper's tokenizer; shared, so its language must not be changed."""
        return Tokenizer(self._tokenizer, self.multilingual, task=task, language=language)

    @functools.lru_cache(maxsize=8)  # noqa: B019 (a client's list may have 10,000 tokens)
    def suppressed(self, tokens: tuple[int, ...]) -> tuple[int, ...]:
        """All tokens that are never generated: -1 stands for symbols that are not speech.

        Those that begin a text are always among them; said in one, they would begin the next one's prompt.
        """
        plain = self.tokenizer("en", "transcribe")
        return tuple(get_suppressed_tokens(plain, list(tokens)))

    def knows(self, language: str) -> bool:
        """Whether the model can be told, or hear, that somebody speaks the language."""
        if not self.multilingual:
            return language == "en"
        return self._tokenizer.token_to_id(f"<|{language}|>") is not None

    def start(self, language: str, task: str) -> list[int]:
        """The tokens that every text begins with: start, language, task."""
        return list(self.tokenizer(language, task).sot_sequence)

    def prompt(
        self,
        *,
        language: str,
        task: str,
        previous: Sequence[int] = (),
        hotwords: Sequence[int] = (),
        prefix: Sequence[int] = (),
        timestamps: bool = True,
    ) -> list[int]:
        """The tokens before a window's text, as the reference puts them together.

        Hotwords, at most PROMPT_TOKENS, and previous text share that room; what is oldest goes first.
        Beside a prefix, at most PREFIX_TOKENS, hotwords do not count.
        """
        tokenizer = self.tokenizer(language, task)
        prompt: list[int] = []
        hints = () if prefix else hotwords
        if previous or hints:
            room = PROMPT_TOKENS - len(hints)
            prompt = [tokenizer.sot_prev, *hints, *(list(previous)[-room:] if room else [])]
        prompt += tokenizer.sot_sequence
        if not timestamps:
            prompt.append(tokenizer.no_timestamps)
        if prefix:
            if timestamps:
                prompt.append(tokenizer.timestamp_begin)
            prompt += prefix
        return prompt

    def encode(self, text: str) -> list[int]:
        """Tokens of a text, without special ones."""
        return list(self._tokenizer.encode(text, add_special_tokens=False).ids)

    def decode(self, tokens: Sequence[int]) -> str:
        """Text of tokens; special ones and timestamps are left out."""
        return str(self._tokenizer.decode([token for token in tokens if token < self.eot]))

    def token_bytes(self, token: int) -> bytes:
        """The bytes that a text token stands for; they need not be whole characters."""
        text = self._tokenizer.id_to_token(token) or ""
        return bytes(_BYTES[character] for character in text if character in _BYTES)


def _byte_characters() -> dict[str, int]:
    """GPT-2's alphabet of bytes: printable ones stand for themselves, the others come after 255."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {
        chr(256 + n): byte for n, byte in enumerate(others)
    }


_BYTES = _byte_characters()
