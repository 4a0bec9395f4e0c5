"""The HTTP edge that both services share: request ids, secrets, the one error body, early refusals.

The worker owns this file; the gateway holds a byte-for-byte copy, checked by a test.
"""

import asyncio
import hmac
import logging
import re
import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPAuthorizationCredentials
from pydantic import SecretStr
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .errors import (
    InvalidKey,
    InvalidRequest,
    MethodNotAllowed,
    MissingKey,
    NotFound,
    Overloaded,
    ServiceError,
    UnknownParameter,
    error_body,
    error_headers,
)
from .wire import refused

log = logging.getLogger(__name__)
T = TypeVar("T")

ERROR_SCHEMA = {
    "type": "object",
    "required": ["detail", "error"],
    "properties": {
        "detail": {"type": "string"},
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        },
    },
}

ROUTINE = re.compile("/(health|livez|readyz|models|admission/.*)")
"""Paths that are asked many times a minute, or before another request that has its own line in the log."""
DRAIN_BYTES = 1024**3
DRAIN_SECONDS = 600.0
"""What is read, and thrown away, of a request that is refused: as large as uploads usually may be, since
Python's asynchronous clients see no status before they have sent all; crawling ones the server ends itself."""
MAX_HEADER_BYTES = 16 * 1024
"""Of the address and all headers."""
SHOWN_PATH = 1000
"""Characters of a path in the log."""
CLIENT_LEFT = 499
"""The status that logs usually have for a client that left before its answer was whole; no client ever sees it."""
TOLD = "is_told"
"""Of a request's state: whether all that its client waits for is on its way."""
_REQUEST_ID = re.compile(r"[A-Za-z0-9._-]{1,128}")


def new_request_id() -> str:
    """An id for a request that brings none."""
    return f"req_{secrets.token_hex(12)}"


def request_id_of(scope: Scope) -> str:
    """The id that a request brings, if it is a good one; else one of ours. From then on it stays."""
    given = Headers(scope=scope).get("x-request-id", "")
    state = scope.setdefault("state", {})
    own = given if _REQUEST_ID.fullmatch(given) else new_request_id()
    request_id: str = state.setdefault("request_id", own)
    return request_id


class ClientGone(Exception):
    """The client has closed its connection; nobody reads what would be answered."""


async def until_disconnect(
    request: Request, work: Awaitable[T], *, after: asyncio.Event | None = None
) -> T:
    """Await `work`, but drop it as soon as the client goes away (ClientGone).

    Only after the request's body has been read: it listens on the same channel. Where `work` reads
    the body itself, `after` tells when it has.
    """

    async def watch() -> None:
        if after is not None:
            await after.wait()
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watcher = asyncio.ensure_future(work), asyncio.ensure_future(watch())
    try:
        await asyncio.wait({task, watcher}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientGone
        return task.result()
    finally:
        for pending in (task, watcher):
            pending.cancel()
        await asyncio.gather(task, watcher, return_exceptions=True)


class Bugs:
    """ASGI middleware: logs what no handler has foreseen under the request's id, and answers it.

    Starlette's own handler of such would answer outside of all middleware, and pages of other origins
    could not read its answer. The client learns nothing of the bug but the request's id.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_watched(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self.app(scope, receive, send_watched)
        except Exception:
            if scope["type"] != "http":
                raise
            log.exception("id=%s a bug", scope["state"]["request_id"])
            bug = ServiceError("Internal server error")
            note_failure(scope["state"]["log"], bug)
            if has_begun:
                raise  # the server breaks the connection off, which tells the client
            await error_response(bug)(scope, receive, send)


class Slashes:
    """ASGI middleware: several slashes in a path are as one, and those at its end as none.

    Clients join a base URL that ends in a slash to a path that begins with one. For a slash at the end
    Starlette would redirect, before any key is asked for and with the upload sent twice, or take it
    for a part of a model's name. A target may also be a whole address, as proxies are asked.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            path = re.sub("^https?://[^/]*", "", scope["path"])
            scope = {**scope, "path": re.sub("/+", "/", path).rstrip("/") or "/"}
        await self.app(scope, receive, send)


class Heads:
    """ASGI middleware: a HEAD is answered as a GET, of which the server sends no body (RFC 9110, 9.3.2)."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        is_head = scope["type"] == "http" and scope["method"] == "HEAD"
        await self.app({**scope, "method": "GET"} if is_head else scope, receive, send)


class Edge:
    """ASGI middleware: gives each request its id, and lets early refusals be read.

    A server that answers and closes while the client still sends resets the connection, and the
    client never sees the status. So the rest of the body is read and thrown away, within limits,
    between the last byte of the answer and its end.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        header_bytes = sum(len(name) + len(value) for name, value in headers.raw)
        header_bytes += len(scope.get("raw_path") or b"") + len(scope.get("query_string", b""))
        request_id = request_id_of(scope)
        line = scope["state"].setdefault("log", {})
        unread = headers.get("content-length", "0") != "0" or "transfer-encoding" in headers
        # A proxy in front may have believed the other one, and taken a part of the body for a request (RFC 9112, 6.1).
        is_ambiguous = "content-length" in headers and "transfer-encoding" in headers
        status = 0
        began = time.monotonic()

        async def receive_watched() -> Message:
            nonlocal unread
            message = await receive()
            has_left = message["type"] == "http.disconnect"
            if has_left or not message.get("more_body", False):
                unread = False
            if has_left and not scope["state"].get(TOLD):
                line.setdefault("status", CLIENT_LEFT)
            return message

        async def send_watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                nonlocal status
                status = message["status"]
                answer = MutableHeaders(scope=message)
                answer["X-Request-ID"] = request_id
                if unread or is_ambiguous:
                    answer["Connection"] = "close"
            elif not message.get("more_body", False):
                scope["state"][TOLD] = True
                if unread:
                    await send({**message, "more_body": True})
                    await _drain(receive_watched, lambda: unread)
                    message = {"type": "http.response.body", "body": b""}
            await send(message)

        try:
            if header_bytes > MAX_HEADER_BYTES:
                message = f"The address and the headers are larger than {MAX_HEADER_BYTES} bytes"
                await error_response(InvalidRequest(message))(scope, receive_watched, send_watched)
            else:
                await self.app(scope, receive_watched, send_watched)
        except asyncio.CancelledError:
            # The server stops and waits no longer. Without this it would answer a plain 500.
            if status:
                raise
            stopping = noted_stop(line)
            unread = False  # nor for what the client still sends
            await error_response(stopping)(scope, receive_watched, send_watched)
        finally:
            _log_request(scope, status, time.monotonic() - began)


def _log_request(scope: Scope, status: int, seconds: float) -> None:
    """One line a request: what operators need, and never what was said."""
    shown = scope["path"][:SHOWN_PATH]
    facts = {"id": scope["state"]["request_id"], "method": scope["method"], "path": shown}
    facts |= {"status": status, "seconds": round(seconds, 3)} | scope["state"]["log"]
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    level = logging.DEBUG if ROUTINE.fullmatch(path) else logging.INFO
    log.log(
        logging.WARNING if "error" in facts else level,
        " ".join(f"{name}=%s" for name in facts),
        *(
            value if isinstance(value, int | float) else _shown(value, is_ours=name == "error")
            for name, value in facts.items()
        ),
    )


def _shown(value: str, *, is_ours: bool) -> str:
    """Text on one line, in quotes where a part of a client's could be taken for the next fact."""
    shown = repr(value)[1:-1]
    if is_ours or re.fullmatch(r'[^\s="]*', shown):
        return shown
    return '"' + shown.replace('"', '\\"') + '"'


def noted_stop(line: dict[str, Any]) -> Overloaded:
    """What a request is told that the server's stop ends; put into its log line."""
    stopping = Overloaded("The service is shutting down")
    note_failure(line, stopping)
    return stopping


def note_end(request: Request) -> None:
    """Tell that a stream's last event is on its way: many a client leaves with it, before the stream has ended."""
    request.scope["state"][TOLD] = True


def note_failure(line: dict[str, Any], error: ServiceError) -> None:
    """Put into a request's log line why it failed; where that is our doing, with message and cause.

    For the answers of the routes this is done here; a stream that fails after its first byte has to
    say so itself. The first failure stays: where the server has refused a request, what the route
    says of it then is no news.
    """
    if "code" in line:
        return
    line["code"] = error.code
    if error.status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        line["error"] = error.message
        if cause := _root(error):
            # A parser's message quotes what it could not read, which may be what was said.
            quotes = isinstance(cause, ValueError)
            says = "" if quotes else str(cause)
            line["cause"] = type(cause).__name__ + (f": {says}" if says else "")


def _root(error: BaseException) -> BaseException | None:
    """The first of the exceptions that led to this one; None when it is itself the first."""
    cause = error.__cause__
    return cause and (_root(cause) or cause)


async def _drain(receive: Receive, unread: Callable[[], bool]) -> None:
    left = DRAIN_BYTES
    # A stop of the server ends it too: the answer has been sent.
    with suppress(TimeoutError, asyncio.CancelledError):
        async with asyncio.timeout(DRAIN_SECONDS):
            while unread() and left > 0:
                left -= len((await receive()).get("body", b""))


def error_response(error: ServiceError) -> JSONResponse:
    """The answer to a failed request, in the house's one shape."""
    return JSONResponse(error_body(error), error.status, headers=error_headers(error))


def check_bearer(given: HTTPAuthorizationCredentials | None, secret: SecretStr) -> None:
    """Raise MissingKey or InvalidKey; a secret that is empty lets everybody in."""
    wanted = secret.get_secret_value()
    if not wanted:
        return
    if given is None:
        raise MissingKey("Missing bearer token", headers={"WWW-Authenticate": "Bearer"})
    # Headers are read as Latin-1, whatever the bytes stand for, and FastAPI strips what is a blank there.
    expected = wanted.encode().decode("latin-1").strip()
    if not hmac.compare_digest(given.credentials.encode("latin-1"), expected.encode("latin-1")):
        raise InvalidKey("Invalid token")


def refuse_query(request: Request) -> None:
    """Raise UnknownParameter for an option in the address: only the form is read."""
    for name in request.query_params:
        message = f"Unknown parameter in the address: '{name}'; options are fields of the form"
        raise UnknownParameter(message, param=name)


def documented(*errors: ServiceError) -> dict[int | str, dict[str, Any]]:
    """OpenAPI's `responses` for these errors: a description and an example of each."""
    shape = {"application/json": {"schema": ERROR_SCHEMA}}
    # Having this, FastAPI does not document its own 422, which is never sent.
    responses: dict[int | str, dict[str, Any]] = {
        "default": {"description": "Every failure has this shape", "content": shape}
    }
    for error in errors:
        content = responses.setdefault(
            error.status,
            {"description": HTTPStatus(error.status).phrase, "content": {"application/json": {}}},
        )["content"]["application/json"]
        content.setdefault("schema", ERROR_SCHEMA)
        content.setdefault("examples", {})[error.code] = {"value": error_body(error)}
    return responses


def documented_form(
    fields: dict[str, Any], required: tuple[str, ...] = ("file",)
) -> dict[str, Any]:
    """OpenAPI's `requestBody` of a multipart form: a file, and fields that are read as they arrive."""
    file = {"type": "string", "format": "binary"}
    optional = {n: field if n in required else _form_field(field) for n, field in fields.items()}
    schema = {
        "type": "object",
        "required": list(required),
        "properties": {"file": file, **optional},
    }
    content = {"multipart/form-data": {"schema": schema}}
    return {"requestBody": {"required": True, "content": content}}


def _form_field(field: dict[str, Any]) -> dict[str, Any]:
    """An optional field as it is sent: empty where it is unset, since forms know no null.

    The page at `/docs` sends each field with its default, else its example, else with one that it makes up.
    """
    kinds = [kind for kind in field.get("anyOf", []) if kind != {"type": "null"}]
    if kinds:
        (kind,) = kinds
        field = {k: v for k, v in field.items() if k not in ("anyOf", "default")} | kind
    if "default" in field:
        return field
    return {**field, "example": [] if field.get("type") == "array" else ""}


def install_edge(app: FastAPI) -> None:
    """Add request ids and make every failure of `app` answer in the house's one shape."""

    def failure(request: Request, error: ServiceError) -> Response:
        note_failure(request.state.log, error)
        return error_response(error)

    @app.exception_handler(ServiceError)
    async def on_service_error(request: Request, error: ServiceError) -> Response:
        return failure(request, error)

    @app.exception_handler(RequestValidationError)
    async def on_invalid(request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        return failure(request, refused(first | {"loc": first["loc"][1:]}))  # not "query"

    @app.exception_handler(HTTPException)
    async def on_http_exception(request: Request, error: HTTPException) -> Response:
        headers = dict(error.headers or {})
        match error.status_code:
            case 404:
                return failure(request, NotFound(f"No such path: {request.url.path}"))
            case 405:
                message = f"{request.method} is not allowed here"
                allowed = set(re.findall(r"\w+", headers.get("Allow", "")))
                headers["Allow"] = ", ".join(
                    sorted(allowed | ({"HEAD"} if "GET" in allowed else set()))
                )
                return failure(request, MethodNotAllowed(message, headers=headers))
            case _:
                return failure(request, InvalidRequest(str(error.detail), headers=headers))

    @app.exception_handler(ClientDisconnect)
    @app.exception_handler(ClientGone)
    async def on_client_gone(request: Request, error: Exception) -> Response:
        return Response(status_code=CLIENT_LEFT)  # nobody reads it

    app.router.redirect_slashes = False
    # Innermost, whatever is or will be added.
    app.user_middleware += [Middleware(Bugs), Middleware(Heads)]
    app.add_middleware(Edge)
    app.add_middleware(Slashes)  # outermost
