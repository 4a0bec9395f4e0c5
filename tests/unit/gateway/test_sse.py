"""A stream of server-sent events, as an application that a server runs."""

import asyncio
import json
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack
from typing import Any

from gateway.edge import Edge
from gateway.sse import EventStream, data


def test_a_stream_that_the_server_ends_says_so_in_its_last_event() -> None:
    """Else an SDK would see nothing but a broken connection."""

    async def run() -> tuple[list[dict[str, Any]], bool]:
        sent, reached, held = list[dict[str, Any]](), asyncio.Event(), AsyncExitStack()
        is_let_go = asyncio.Event()
        held.callback(is_let_go.set)

        async def events() -> AsyncGenerator[str, None]:
            yield data({"delta": "Hello"})
            reached.set()
            await asyncio.Event().wait()

        async def never() -> Any:
            await asyncio.Event().wait()

        async def send(message: Any) -> None:
            sent.append(message)

        app = Edge(EventStream(events(), held, keep_alive_seconds=60, headers={}))
        scope = {"type": "http", "method": "POST", "path": "/v1", "headers": []}
        task = asyncio.ensure_future(app(scope, never, send))
        async with asyncio.timeout(30):
            await reached.wait()
        task.cancel()
        await task
        return sent, is_let_go.is_set()

    sent, is_let_go = asyncio.run(run())
    assert [message["status"] for message in sent if "status" in message] == [200]
    *_, first, last = (message for message in sent if message["type"] == "http.response.body")
    assert json.loads(first["body"].removeprefix(b"data: ")) == {"delta": "Hello"}
    error = json.loads(last["body"].removeprefix(b"data: "))["error"]
    assert (error["code"], error["message"]) == ("overloaded", "The service is shutting down")
    assert not last.get("more_body", False)
    assert is_let_go
