"""uvicorn on h11 with the deadlines for clients that it lacks.

A client must send its headers within HEADER_SECONDS, and while the service is willing to read its
body, LEAST_BODY_BYTES of it every BODY_SECONDS; else it gets 408 and the connection ends. (uvicorn has no such
limit: Kludex/uvicorn#157.) Of an answer that waits for it, it must take some every READING_SECONDS;
else the connection ends, and with it the work for the answer. The worker owns this file; the gateway
holds a byte-for-byte copy.
"""

import asyncio
import contextlib
import json
import logging
import signal
import socket
from http import HTTPStatus
from typing import Any, Literal

import anyio._backends._asyncio  # noqa: F401 - else at the first request, when there may be no file left to open it
import h11
import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from .edge import new_request_id, note_failure, request_id_of
from .errors import InvalidRequest, RequestTimeout, ServiceError, error_body

log = logging.getLogger(__name__)

HEADER_SECONDS = 15.0
BODY_SECONDS = 30.0
LEAST_BODY_BYTES = 4096
"""Slower than any sound: who sends a byte now and then would hold the place of a whole file for months."""
READING_SECONDS = 120.0
KEEP_ALIVE_SECONDS = 75
MAX_INCOMPLETE_EVENT_BYTES = 32 * 1024
"""Of a head that arrives in pieces; in one piece it may be of any size. What is taken of either is the edge's limit."""
MOST_AHEAD_BYTES = 64 * 1024
"""Of further requests on a connection whose first one is at work."""
GRACE_SECONDS = 30
BACKLOG = 2048
"""Connections that wait to be accepted, as uvicorn has it."""


class DeadlineProtocol(H11Protocol):
    """One connection, with timers that run while the client owes bytes, or does not take them."""

    header_seconds = HEADER_SECONDS
    body_seconds = BODY_SECONDS
    reading_seconds = READING_SECONDS
    _deadline: asyncio.TimerHandle | None = None
    _reading_deadline: asyncio.TimerHandle | None = None
    _awaiting: Literal["headers", "body"] | None = None
    """What the timer runs for."""
    _came = 0
    """Bytes since the timer began."""
    _is_held_back = False
    """Whether the timer for the body began while the application took nothing."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        # Else what a client leaves unread in the last 64 KiB would be waited for, for ever.
        transport.set_write_buffer_limits(high=0)
        self._watch()

    def data_received(self, data: bytes) -> None:
        self._came += len(data)
        super().data_received(data)
        if self.conn.their_state is h11.DONE and len(self.conn.trailing_data[0]) < MOST_AHEAD_BYTES:
            # uvicorn stops reading at bytes of a further request, and would not see its client leave.
            self.flow.resume_reading()
        self._watch(progress=True)

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._watch(progress=True)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_watching()
        self._stop_watching_reads()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch_reads()

    def resume_writing(self) -> None:
        self._stop_watching_reads()
        super().resume_writing()

    def _watch_reads(self) -> None:
        """End the connection unless the client takes something of what waits for it."""
        waiting = self.transport.get_write_buffer_size()

        def look() -> None:
            if self.transport.get_write_buffer_size() < waiting:
                self._watch_reads()
            else:
                self.transport.abort()

        self._reading_deadline = self.loop.call_later(self.reading_seconds, look)

    def _stop_watching_reads(self) -> None:
        if self._reading_deadline is not None:
            self._reading_deadline.cancel()
            self._reading_deadline = None

    def _watch(self, *, progress: bool = False) -> None:
        """Arm the timer that fits what the client owes now; a slow header gets no second chance."""
        if self.transport.is_closing() or self.transport.get_protocol() is not self:
            self._stop_watching()
            return
        state = self.conn.their_state
        owes_headers = state is h11.IDLE and (
            self.cycle is None or self.conn.trailing_data[0] != b""
        )
        if owes_headers and self._awaiting == "headers" and progress:
            return
        is_crawling = self._awaiting == "body" and self._came < LEAST_BODY_BYTES
        if state is h11.SEND_BODY and is_crawling and progress:
            return
        self._stop_watching()
        self._came = 0
        if owes_headers:
            self._awaiting = "headers"
            self._deadline = self.loop.call_later(self.header_seconds, self._expire)
        elif state is h11.SEND_BODY:
            self._awaiting = "body"
            self._is_held_back = self.flow.read_paused
            self._deadline = self.loop.call_later(self.body_seconds, self._expire)

    def _stop_watching(self) -> None:
        self._awaiting = None
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _expire(self) -> None:
        is_held_back = self._is_held_back or self.flow.read_paused
        if self.conn.their_state is h11.SEND_BODY and is_held_back:
            # We are the slow one: the application has not taken what has already arrived, or only just now.
            self._watch()
            return
        self._refuse(RequestTimeout("The request took too long to arrive"))

    def _unsupported_upgrade_warning(self) -> None:
        """Say nothing: an offer of another protocol, as Java's client makes, may be passed over in silence."""

    def send_400_response(self, msg: str) -> None:
        self._refuse(InvalidRequest(msg))

    def _refuse(self, error: ServiceError) -> None:
        self._stop_watching()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            request_id = self._noted(error)
            body = json.dumps(error_body(error)).encode()
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
                ("x-request-id", request_id),
            ]
            phrase = HTTPStatus(error.status).phrase
            events: list[Any] = [
                h11.Response(status_code=error.status, headers=headers, reason=phrase),
                h11.Data(data=body),
                h11.EndOfMessage(),
            ]
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        self.transport.close()

    def _noted(self, error: ServiceError) -> str:
        """Log a refusal, and return the request's id.

        Where the application is at work on it, it finds its client gone, and its line in the log tells why.
        """
        if self.cycle is None or self.cycle.response_complete:
            request_id = new_request_id()
            log.info(
                "id=%s status=%d code=%s error=%s",
                *(request_id, error.status, error.code, error.message),
            )
            return request_id
        scope: Any = self.cycle.scope
        line = scope["state"].setdefault("log", {})
        line["status"] = error.status
        note_failure(line, error)
        self.cycle.disconnected = True
        self.cycle.message_event.set()
        return request_id_of(scope)


class GatewaysProtocol(DeadlineProtocol):
    """For the worker: nothing comes while its gateway reads a client's fields behind the file.

    They may be large and the client slow. The gateway holds it to its own deadline, and closes this
    connection when it gives it up; so this one only ends what a gateway that is gone has left.
    """

    body_seconds = 3600.0


def allow_open_files() -> None:
    """Let this process open as many files as it may: at the usual 1024, so many idle connections shut others out."""
    with contextlib.suppress(ImportError, ValueError, OSError):  # not on every system
        import resource

        _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _for_both_families(port: int) -> list[socket.socket] | None:
    """What listens at all addresses, of IPv4 too; asyncio would listen at those of IPv6 alone."""
    if not socket.has_dualstack_ipv6():
        return None
    try:
        listening = socket.create_server(
            ("::", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=BACKLOG
        )
    except OSError as exc:
        raise SystemExit(f"port {port} cannot be listened at: {exc.strerror}") from exc
    return [listening]


def serve(
    app: FastAPI,
    *,
    host: str,
    port: int,
    log_level: str,
    protocol: type[DeadlineProtocol] = DeadlineProtocol,
    trusted_proxies: str = "127.0.0.1,::1",
) -> None:
    """Run `app` until SIGINT or SIGTERM; running requests get GRACE_SECONDS to end.

    What `trusted_proxies` (addresses or networks, with commas) say in X-Forwarded-For is believed.
    """
    allow_open_files()
    logging.getLogger("uvicorn.access").disabled = True
    config = uvicorn.Config(
        app,
        host=host,
        port=port,
        http=protocol,
        h11_max_incomplete_event_size=MAX_INCOMPLETE_EVENT_BYTES,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACE_SECONDS,
        log_config=None,
        log_level=log_level.lower(),
        access_log=False,
        server_header=False,
        backlog=BACKLOG,
        forwarded_allow_ips=trusted_proxies,
    )
    server = uvicorn.Server(config)
    for number in (signal.SIGINT, signal.SIGTERM):
        # uvicorn raises the signal again after its shutdown; a stop that was asked for is a success.
        signal.signal(number, lambda *_: None)
    server.run(sockets=_for_both_families(port) if host == "::" else None)
    if not server.started:
        raise SystemExit(3)
