"""Server-sent events as OpenAI's SDKs read them.

Each event is one `data:` line with JSON and a blank line; signs of life are comments, since the SDKs
break on `id:`, `retry:` and events without data.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

DONE = "data: [DONE]\n\n"


def data(event: object) -> str:
    """One event."""
    return f"data: {json.dumps(event, ensure_ascii=False, separators=(',', ':'))}\n\n"


def comment(text: str) -> str:
    """What clients skip and proxies count as traffic."""
    return f": {text}\n\n"


async def kept_alive(
    pieces: AsyncGenerator[str, None], seconds: float
) -> AsyncGenerator[str, None]:
    """Pass pieces on, and a comment whenever none has come for so many seconds."""
    async with aclosing(pieces):
        coming = asyncio.ensure_future(anext(pieces, None))
        try:
            while True:
                done, _ = await asyncio.wait({coming}, timeout=seconds)
                if not done:
                    yield comment("keep-alive")
                    continue
                piece = coming.result()
                if piece is None:
                    return
                yield piece
                coming = asyncio.ensure_future(anext(pieces, None))
        finally:
            coming.cancel()
            await asyncio.gather(coming, return_exceptions=True)


class EventStream(StreamingResponse):
    """A stream of events that gives back what it holds when it ends or its client leaves."""

    def __init__(
        self, pieces: AsyncGenerator[str, None], held: AsyncExitStack, headers: dict[str, str]
    ) -> None:
        super().__init__(
            pieces,
            # A proxy that gathers the answer (nginx does) would hold the deltas back.
            headers=headers | {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
            media_type="text/event-stream",
        )
        self._pieces, self._held = pieces, held

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held, aclosing(self._pieces):
            await super().__call__(scope, receive, send)
