"""OpenAI's Python SDK for tests: synchronous or asynchronous, and strict about what it is given."""

import asyncio
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Literal

import pytest
from openai import AsyncOpenAI, OpenAI
from running import KEY


@dataclass(frozen=True)
class Sdk:
    """OpenAI's Python SDK against one gateway; every answer must fit its types exactly."""

    url: str
    kind: Literal["sync", "async"] = "sync"
    key: str = KEY
    max_retries: int = 0

    def transcribe(self, **asked: Any) -> Any:
        """`audio.transcriptions.create`."""
        return self.call(lambda client: client.audio.transcriptions.create(**asked))

    def translate(self, **asked: Any) -> Any:
        """`audio.translations.create`, which OpenAI has declared deprecated."""

        def create(client: Any) -> Any:
            with pytest.warns(DeprecationWarning, match="deprecated"):
                return client.audio.translations.create(**asked)

        return self.call(create)

    def events(self, **asked: Any) -> list[Any]:
        """All the events of a streamed transcription."""
        if self.kind == "sync":
            with OpenAI(**self._settings()) as client:
                return list(client.audio.transcriptions.create(stream=True, **asked))

        async def collect() -> list[Any]:
            async with AsyncOpenAI(**self._settings()) as client:
                stream = await client.audio.transcriptions.create(stream=True, **asked)
                return [event async for event in stream]

        return asyncio.run(collect())

    def call(self, ask: Callable[[Any], Any]) -> Any:
        """What `ask` gets from a client."""
        if self.kind == "sync":
            with OpenAI(**self._settings()) as client:
                return ask(client)

        async def answer() -> Any:
            async with AsyncOpenAI(**self._settings()) as client:
                given: Coroutine[Any, Any, Any] = ask(client)
                return await given

        return asyncio.run(answer())

    def _settings(self) -> dict[str, Any]:
        return {
            "base_url": f"{self.url}/v1",
            "api_key": self.key,
            "max_retries": self.max_retries,
            "_strict_response_validation": True,
        }
