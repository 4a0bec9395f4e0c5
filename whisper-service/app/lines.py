"""JSON Lines: a request's events as they come."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

from fastapi.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from .edge import noted_stop
from .transcribe.story import failed
from .wire import Event

JSON_LINES = "application/jsonl"


class EventLines(StreamingResponse):
    """A stream of events, one on each line.

    The events are closed when the client has left, not whenever they are collected. Where the server
    stops and waits no longer, the last line says so.
    """

    def __init__(self, first: Event, rest: AsyncGenerator[Event, None]) -> None:
        self._lines = _lines(first, rest)
        super().__init__(self._lines, media_type=JSON_LINES)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self._lines):
            try:
                await super().__call__(scope, receive, send)
            except asyncio.CancelledError:
                # A client that leaves cancels only what is inside.
                state = scope["state"]
                last = _line(failed(noted_stop(state["log"]), state["request_id"]))
                await send({"type": "http.response.body", "body": last.encode()})


async def _lines(first: Event, rest: AsyncGenerator[Event, None]) -> AsyncGenerator[str, None]:
    async with aclosing(rest):
        yield _line(first)
        async for event in rest:
            yield _line(event)


def _line(event: Event) -> str:
    return f"{event.model_dump_json(exclude_none=True)}\n"
