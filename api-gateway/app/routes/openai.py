"""OpenAI's speech-to-text API under `/v1`, so that its SDKs work when only their base URL changes."""

import asyncio
import re
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, closing
from typing import Any

from fastapi import APIRouter, Depends, Request, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from ..auth import require_openai_key
from ..deps import admit, check_task, resolve_model, settings_of, worker_of
from ..edge import note_end, note_failure, until_disconnect
from ..errors import MissingField, ModelNotFound, ServiceError, UnknownParameter, error_object
from ..formats import openai as shapes
from ..formats.subtitles import WRITERS
from ..openai_form import Asked, OpenAIForm, Task
from ..sse import DONE, EventStream, data
from ..uploads import Upload
from ..wire import (
    Event,
    Failed,
    Finished,
    Progress,
    Segment,
    Started,
    Transcript,
    collect,
    form_fields,
)
from .documented import (
    MODEL_ERRORS,
    ONE_MODEL_ERRORS,
    OPENAI_UPLOAD,
    TRANSCRIPTION_ANSWERS,
    TRANSLATION_ANSWERS,
)

router = APIRouter(prefix="/v1", dependencies=[Depends(require_openai_key)], tags=["openai"])

_STRICT = re.compile(r'(?:^|,)\s*handling\s*=\s*"?strict"?\s*(?:[;,]|$)', re.IGNORECASE)
"""`Prefer: handling=strict`, as RFC 7240 lets it be written."""
_NOT_PRINTABLE = re.compile(r"[^\x21-\x7e]")


@router.post("/audio/transcriptions", openapi_extra=OPENAI_UPLOAD, responses=TRANSCRIPTION_ANSWERS)
async def transcriptions(request: Request) -> Response:
    """Turn one uploaded file into text, as OpenAI's route of the same name does."""
    return await _answer(request, "transcribe")


@router.post("/audio/translations", openapi_extra=OPENAI_UPLOAD, responses=TRANSLATION_ANSWERS)
async def translations(request: Request) -> Response:
    """Turn one uploaded file into English text, as OpenAI's route of the same name does."""
    return await _answer(request, "translate")


@router.get("/models", responses=MODEL_ERRORS)
async def models(request: Request) -> dict[str, Any]:
    """The models and aliases that this key may use, with what each can do."""
    return {"object": "list", "data": list((await _models(request)).values())}


@router.get("/models/{name:path}", responses=ONE_MODEL_ERRORS)
async def model(request: Request, name: str) -> dict[str, Any]:
    """One model or alias."""
    found = (await _models(request)).get(name)
    if found is None:
        raise ModelNotFound(f"The model '{name}' does not exist", param="model")
    return found


async def _models(request: Request) -> dict[str, dict[str, Any]]:
    settings = settings_of(request)
    infos = {info.id: info for info in await worker_of(request).models()}
    names = {name: name for name in settings.allowed_models}
    names |= {alias: name for alias, name in settings.aliases.items() if alias not in names}
    return {
        public: shapes.model_object(public, infos[name], created=request.app.state.started)
        for public, name in names.items()
        if name in infos
    }


async def _answer(request: Request, task: Task) -> Response:
    """The story of one request: fields, admission, upload, and what comes of it."""
    began = time.monotonic()
    worker, request_id = worker_of(request), request.state.request_id
    form = OpenAIForm(task, request.query_params.keys())
    async with AsyncExitStack() as held:
        upload = Upload(request, settings_of(request).max_upload_bytes, form)
        held.enter_context(closing(upload))
        asked = await _understood(request, form, upload)
        model = resolve_model(request, asked.model)
        await check_task(request, model, asked.options)
        await admit(request, upload, model, form_fields(asked.options))
        body = upload.body(lambda: form_fields(form.read().options))
        story = worker.transcribe(model, body, upload.content_type, request_id)
        events = await until_disconnect(
            request, held.enter_async_context(story), after=upload.is_read
        )
        asked = form.read()
        _check_strict(request, asked.ignored)
        if asked.stream:
            silence = settings_of(request).keep_alive_seconds
            events = await until_disconnect(request, _begun(events, asked, silence))
            return EventStream(
                _server_sent(request, asked, events),
                held.pop_all(),
                keep_alive_seconds=silence,
                headers=_headers(asked, began),
            )
        transcript = await until_disconnect(request, collect(events))
    request.state.log["duration"] = transcript.duration
    # Beside the event loop: hours of words take a third of a second.
    return await asyncio.to_thread(_whole, asked, transcript, _headers(asked, began))


async def _understood(request: Request, form: OpenAIForm, upload: Upload) -> Asked:
    """Read the fields before the file, and those after it where they are needed beforehand."""
    await upload.read_head()
    try:
        asked = form.read()
    except MissingField:
        await upload.spool()
        asked = form.read()
    # What is known may still get its use from a field behind the file.
    _check_strict(request, asked.ignored if upload.is_read.is_set() else asked.unknown)
    return asked


def _whole(asked: Asked, transcript: Transcript, headers: dict[str, str]) -> Response:
    match asked.response_format:
        case "json":
            shape = shapes.transcription(transcript, logprobs=asked.options.logprobs)
            return JSONResponse(shape, headers=headers)
        case "verbose_json":
            shape = shapes.verbose(
                transcript, task=asked.options.task, granularities=asked.granularities
            )
            return JSONResponse(shape, headers=headers)
        case name:
            return PlainTextResponse(WRITERS[name](transcript, asked.style), headers=headers)


async def _begun(
    events: AsyncGenerator[Event, None], asked: Asked, seconds: float
) -> AsyncGenerator[Event, None]:
    """The events from the first one that is told, once it is there or so many seconds have passed.

    What fails before is raised: it has a status of its own, by which the SDKs know whether to try again.
    """

    async def first() -> Event:
        event = await anext(events)
        while isinstance(event, Started | Progress) and not asked.progress:
            event = await anext(events)
        return event

    upcoming = asyncio.ensure_future(first())
    try:
        await asyncio.wait({upcoming}, timeout=seconds)
    except asyncio.CancelledError:
        upcoming.cancel()
        await asyncio.gather(upcoming, return_exceptions=True)  # before its events are closed
        raise
    if upcoming.done() and isinstance(event := upcoming.result(), Failed):
        raise event.error

    async def told() -> AsyncGenerator[Event, None]:
        yield await upcoming
        async for event in events:
            yield event

    return told()


async def _server_sent(
    request: Request, asked: Asked, events: AsyncGenerator[Event, None]
) -> AsyncGenerator[str, None]:
    """Deltas as segments become final, then the whole text once more; a failure ends the stream."""
    segments: list[Segment] = []
    try:
        async for event in events:
            match event:
                case Segment():
                    segments.append(event)
                    yield data(shapes.delta_event(event, logprobs=asked.options.logprobs))
                    if asked.segment_events:
                        words = "word" in asked.granularities
                        yield data(shapes.segment_event(event, words=words))
                case Started() | Progress() if asked.progress:
                    yield data(shapes.progress_event(event))
                case Finished():
                    request.state.log["duration"] = event.duration
                    transcript = Transcript(**event.model_dump(), text="", segments=segments)
                    done = await asyncio.to_thread(_done, transcript, asked)
                    note_end(request)
                    yield done
                    yield DONE
                case Failed():
                    raise event.error
    except ServiceError as exc:
        note_failure(request.state.log, exc)
        note_end(request)
        # Nested, else the SDKs take it for an event.
        yield data({"error": error_object(exc)})


def _done(transcript: Transcript, asked: Asked) -> str:
    return data(shapes.done_event(transcript, logprobs=asked.options.logprobs))


def _check_strict(request: Request, ignored: list[str]) -> None:
    strict = settings_of(request).strict_parameters
    preferred = ",".join(request.headers.getlist("prefer"))
    if ignored and (strict or _STRICT.search(preferred)):
        message = f"Unknown or unsupported parameters: {', '.join(ignored)}"
        raise UnknownParameter(message, param=ignored[0])


def _headers(asked: Asked, began: float) -> dict[str, str]:
    headers = {"openai-processing-ms": str(round((time.monotonic() - began) * 1000))}
    if asked.ignored:
        # Clients choose the names; a header takes neither control characters nor blanks at its ends.
        names = ", ".join(_NOT_PRINTABLE.sub("?", name) for name in asked.ignored)
        headers["X-Ignored-Params"] = names[:1000].rstrip(", ")
    return headers
