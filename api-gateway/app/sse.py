"""Server-sent events as OpenAI's SDKs read them.

Each event is one `data:` line with JSON and a blank line; signs of life are comments in front of it, since
the SDKs break on `id:`, `retry:` and events without data.
"""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, aclosing

import anyio
from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from .edge import noted_stop
from .errors import error_object

DONE = "data: [DONE]\n\n"
_LINE_ENDS = {ord(character): f"\\u{ord(character):04x}" for character in "\x85\u2028\u2029"}
"""Where some clients end a line, as Python's `splitlines` does; JSON leaves them as they are."""


def data(event: object) -> str:
    """One event."""
    text = json.dumps(event, ensure_ascii=False, separators=(",", ":"))
    return f"data: {text.translate(_LINE_ENDS)}\n\n"


def comment(text: str) -> str:
    """What clients skip and proxies count as traffic: a line above the next event.

    Not a block of its own: OpenAI's SDK for Go before 3.43 takes each blank line for the end of an event.
    """
    return f": {text}\n"


class EventStream(StreamingResponse):
    """A stream of events, with a comment whenever none has come for `keep_alive_seconds`.

    It gives back what it holds when it ends or when its client leaves.
    """

    def __init__(
        self,
        events: AsyncGenerator[str, None],
        held: AsyncExitStack,
        *,
        keep_alive_seconds: float,
        headers: dict[str, str],
    ) -> None:
        super().__init__(
            events,
            # A proxy that gathers the answer (nginx does) would hold the deltas back.
            headers=headers | {"Cache-Control": "no-cache", "X-Accel-Buffering": "no"},
            media_type="text/event-stream",
        )
        self._events, self._held = events, held
        self._keep_alive_seconds = keep_alive_seconds
        self._sending = asyncio.Lock()
        self._last_sent = 0.0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with self._held, aclosing(self._events):
            try:
                await super().__call__(scope, receive, send)
            except asyncio.CancelledError:
                # The server stops and waits no longer (a client that leaves cancels only what is inside).
                stopping = noted_stop(scope["state"]["log"])
                text = data({"error": error_object(stopping)})
                await send({"type": "http.response.body", "body": text.encode()})

    async def stream_response(self, send: Send) -> None:
        await send(
            {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        )
        self._last_sent = anyio.current_time()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._keep_alive, send)
            async for event in self._events:
                await self._send(send, event)
            tasks.cancel_scope.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _keep_alive(self, send: Send) -> None:
        while True:
            silence = anyio.current_time() - self._last_sent
            # A client that does not read what it has been sent needs no sign of life.
            if silence >= self._keep_alive_seconds and not self._sending.locked():
                await self._send(send, comment("keep-alive"))
                silence = 0.0
            left = self._keep_alive_seconds - silence
            await anyio.sleep(left if left > 0 else self._keep_alive_seconds)

    async def _send(self, send: Send, text: str) -> None:
        async with self._sending:
            await send({"type": "http.response.body", "body": text.encode(), "more_body": True})
            self._last_sent = anyio.current_time()
