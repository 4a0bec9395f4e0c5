"""The only door to the worker: calls over httpx, answers as wire models, failures as our errors."""

import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import httpx
from pydantic import TypeAdapter

from .errors import (
    RemoteError,
    ServiceError,
    WorkerLost,
    WorkerTimeout,
    WorkerUnreachable,
    lacks_files,
    no_files_left,
)
from .settings import Settings
from .wire import (
    Admission,
    Detected,
    DetectedLanguage,
    Event,
    Failed,
    Finished,
    Health,
    ModelInfo,
    collect_language,
    parse_event,
)

log = logging.getLogger(__name__)

CONNECT_SECONDS = 5.0
PROBE_SECONDS = 5.0
ADMISSION_SECONDS = 15.0
"""For an answer that needs no work: whoever waits for it is not noticed to leave, and holds a place."""


@contextmanager
def _translated_errors() -> Iterator[None]:
    """Translate httpx' errors into ours."""
    try:
        yield
    except (httpx.ConnectError, httpx.ConnectTimeout) as exc:
        if lacks_files(exc):
            raise no_files_left() from exc
        raise WorkerUnreachable("The model service cannot be reached", retry_after=5) from exc
    except httpx.TimeoutException as exc:
        raise WorkerTimeout("The model service gave no sign of life in time") from exc
    except httpx.LocalProtocolError:
        # Its text quotes the header that cannot be sent, which may be the one with the secret.
        raise WorkerLost("The request to the model service could not be sent") from None
    except httpx.RequestError as exc:
        raise WorkerLost("The connection to the model service was lost") from exc


class Worker:
    """A client of one worker; open it with `connect`."""

    def __init__(self, client: httpx.AsyncClient, admission_timeout: httpx.Timeout) -> None:
        self._client, self._admission_timeout = client, admission_timeout
        self._ailment = ""

    @staticmethod
    @asynccontextmanager
    async def connect(settings: Settings) -> "AsyncIterator[Worker]":
        """Open the connection pool for the lifetime of the gateway."""
        token = settings.worker_token.get_secret_value()
        # No fixed time limit on a request: only silence is one, so a long file never meets it.
        timeout, admission_timeout = (
            httpx.Timeout(silence, connect=CONNECT_SECONDS, pool=None)
            for silence in (settings.model_timeout, min(settings.model_timeout, ADMISSION_SECONDS))
        )
        async with httpx.AsyncClient(
            base_url=str(settings.model_url),
            headers={b"Authorization": f"Bearer {token}".encode()} if token else {},
            timeout=timeout,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=32),
            trust_env=False,
        ) as client:
            yield Worker(client, admission_timeout)

    async def health(self) -> Health:
        """The worker's state; `unreachable` instead of an error, also when it refuses this gateway."""
        try:
            with _translated_errors():
                answer = await self._client.get("/health", timeout=PROBE_SECONDS)
            state = Health.model_validate_json(answer.content)
            if state.status == "ok":
                # Its health is open to everybody; what requests need is WORKER_TOKEN too.
                await self.models()
        except (ServiceError, ValueError) as exc:
            reason = exc.message if isinstance(exc, ServiceError) else "It sent no health"
            state = Health(status="unreachable")
        else:
            reason = ""
        if reason != self._ailment:  # probes ask many times a minute
            level = logging.WARNING if reason else logging.INFO
            log.log(level, "health: %s", reason or "The model service answers again")
            self._ailment = reason
        return state

    async def models(self) -> list[ModelInfo]:
        """What each configured model can do."""
        with _translated_errors():
            answer = await self._client.get("/models", timeout=PROBE_SECONDS)
        await _raise_for_error(answer)
        try:
            return TypeAdapter(list[ModelInfo]).validate_json(answer.content)
        except ValueError as exc:
            raise _unexpected(answer) from exc

    async def admit(
        self, model: str, options: Mapping[str, Any], size: int | None, request_id: str
    ) -> None:
        """Ask before an upload whether it would be taken; raises the error that it would get.

        httpx reads an early answer only after it has sent the whole body, so a refusal that can be
        known beforehand is asked for beforehand.
        """
        asked = Admission(options=dict(options), size=size)
        with _translated_errors():
            answer = await self._client.post(
                f"/admission/{quote(model)}",
                json=asked.model_dump(),
                headers={"X-Request-ID": request_id},
                timeout=self._admission_timeout,
            )
        await _raise_for_error(answer)
        if answer.status_code != HTTPStatus.NO_CONTENT:
            raise _unexpected(answer)

    @asynccontextmanager
    async def transcribe(
        self, model: str, body: AsyncIterator[bytes], content_type: str, request_id: str
    ) -> AsyncIterator[AsyncGenerator[Event, None]]:
        """Send a multipart body as it arrives; gives the events once the worker has admitted it.

        Leaving the block cancels what is still running. The events end with `finished` or `failed`,
        else WorkerLost is raised.
        """
        path = f"/transcribe/{quote(model)}"
        async with self._stream(path, body, content_type, request_id) as events:
            yield events

    async def detect_language(
        self, model: str, body: AsyncIterator[bytes], content_type: str, request_id: str
    ) -> DetectedLanguage:
        """Send a multipart body as it arrives, and learn which language is spoken in its file."""
        path = f"/detect-language/{quote(model)}"
        async with self._stream(path, body, content_type, request_id) as events:
            return await collect_language(events)

    @asynccontextmanager
    async def _stream(
        self, path: str, body: AsyncIterator[bytes], content_type: str, request_id: str
    ) -> AsyncIterator[AsyncGenerator[Event, None]]:
        headers = {
            "Accept": "application/jsonl",
            "Content-Type": content_type,
            "X-Request-ID": request_id,
        }
        with _translated_errors():
            async with self._client.stream("POST", path, content=body, headers=headers) as answer:
                await _raise_for_error(answer)
                async with aclosing(_events(answer)) as events:
                    yield events


async def _events(answer: httpx.Response) -> AsyncGenerator[Event, None]:
    with _translated_errors():
        async for line in _lines(answer.aiter_bytes()):
            try:
                event = parse_event(line)
            except ValueError as exc:
                raise WorkerLost("The model service sent what is not an event") from exc
            if event is None:
                continue
            yield event
            if isinstance(event, Finished | Failed | Detected):
                return
    raise WorkerLost("The model service was lost before it had finished")


async def _lines(pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Split at newlines alone: httpx' own lines also end at U+2028 and the like, which JSON may hold."""
    rest = b""
    async for piece in pieces:
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            yield line
    if rest:
        yield rest


def _unexpected(answer: httpx.Response) -> WorkerLost:
    """What no worker answers; something else may be at MODEL_URL, or stand before it."""
    kind = answer.headers.get("content-type", "no content").partition(";")[0]
    return WorkerLost(f"The model service answered {answer.status_code} with {kind}")


async def _raise_for_error(answer: httpx.Response) -> None:
    """Pass on an error that the worker has worded; anything else than its shape is a lost worker."""
    if answer.is_success:
        return
    await answer.aread()
    try:
        error = json.loads(answer.content)["error"]
        code, message, param = error["code"], error["message"], error["param"]
    except (ValueError, KeyError, TypeError) as exc:
        raise _unexpected(answer) from exc
    if answer.status_code in (401, 403):
        raise WorkerLost("The model service refuses this gateway: check WORKER_TOKEN")
    retry_after = answer.headers.get("retry-after")
    should_retry = answer.headers.get("x-should-retry")
    raise RemoteError(
        answer.status_code,
        code,
        message,
        param=param,
        retry_after=float(retry_after) if retry_after else None,
        retryable=None if should_retry is None else should_retry == "true",
    )
