"""The worker's routes that need its secret: transcribe, admission, models."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Request, Response
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from .edge import (
    check_bearer,
    documented,
    documented_form,
    note_end,
    note_failure,
    refuse_query,
    until_disconnect,
)
from .errors import OF_A_FILE, InvalidKey, MissingKey, ModelNotFound
from .lines import JSON_LINES, EventLines
from .settings import Settings
from .transcribe import Transcriber
from .uploads import Upload, check_size, read_admission, receive_upload
from .wire import (
    DETECTION_OPTIONS,
    Admission,
    Detected,
    DetectedLanguage,
    Event,
    Failed,
    Finished,
    ModelInfo,
    Options,
    Transcript,
    collect,
    collect_language,
    option_schemas,
    read_options,
)

T = TypeVar("T")

bearer = HTTPBearer(auto_error=False, description="WORKER_TOKEN, where it is set")

UPLOAD = documented_form(option_schemas(Options.model_fields))
DETECTION = documented_form(option_schemas(DETECTION_OPTIONS))
ADMISSION_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/json": {"schema": Admission.model_json_schema()}},
    }
}
ERRORS = documented(
    *OF_A_FILE,
    MissingKey("Missing bearer token"),
    InvalidKey("Invalid token"),
    ModelNotFound("The model 'x' is not served here", param="model"),
)


def require_token(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> None:
    """Refuse direct clients when the worker shares a secret with its gateway."""
    settings: Settings = request.app.state.settings
    check_bearer(given, settings.worker_token)


router = APIRouter(dependencies=[Depends(require_token)])


@router.post("/transcribe/{model:path}", openapi_extra=UPLOAD, responses=ERRORS)
@router.post(
    "/transcribe-{model:path}",
    openapi_extra=UPLOAD,
    responses=ERRORS,
    operation_id="transcribe_documented_path",  # FastAPI's own would be that of the route above
)
async def transcribe(request: Request, model: str) -> Transcript:
    """Turn one uploaded file into text.

    `Accept: application/jsonl` streams events as they become final; anything else gets the same
    events collected into one JSON object.
    """
    transcriber, upload = await _received(request, model)
    events = _noted(request, transcriber.transcribe(model, upload, request.state.request_id))
    return await _answered(request, events, collect)


@router.post("/detect-language/{model:path}", openapi_extra=DETECTION, responses=ERRORS)
async def detect_language(request: Request, model: str) -> DetectedLanguage:
    """Say which language is spoken in one uploaded file; null when nobody speaks.

    `Accept: application/jsonl` streams progress until it is known, as for a text.
    """
    transcriber, upload = await _received(request, model)
    events = _noted(request, transcriber.detect_language(model, upload, request.state.request_id))
    return await _answered(request, events, collect_language)


@router.post(
    "/admission/{model:path}", openapi_extra=ADMISSION_BODY, responses=ERRORS, status_code=204
)
async def admission(request: Request, model: str) -> Response:
    """Say before an upload whether it would be taken: 204, or the error that it would get."""
    asked = await read_admission(request)
    transcriber: Transcriber = request.app.state.transcriber
    settings: Settings = request.app.state.settings
    options = read_options(asked.options)
    if asked.size is not None:
        check_size(
            asked.size, max_bytes=settings.max_upload_bytes, folder=settings.whisper_temp_dir
        )
    transcriber.admit(model, options)
    return Response(status_code=204)


@router.get("/models")
async def models(request: Request) -> list[ModelInfo]:
    """What the configured models can do."""
    transcriber: Transcriber = request.app.state.transcriber
    return transcriber.models.infos()


async def _received(request: Request, model: str) -> tuple[Transcriber, Upload]:
    """Read the upload of a request, unless the model could not serve it anyway."""
    transcriber: Transcriber = request.app.state.transcriber
    settings: Settings = request.app.state.settings
    request.state.log["model"] = model
    refuse_query(request)
    transcriber.admit(model)
    upload = await receive_upload(
        request, max_bytes=settings.max_upload_bytes, folder=settings.whisper_temp_dir
    )
    return transcriber, upload


async def _noted(
    request: Request, events: AsyncGenerator[Event, None]
) -> AsyncGenerator[Event, None]:
    """Pass events on, and keep what the log line of this request says."""
    async with aclosing(events):
        async for event in events:
            match event:
                case Finished():
                    request.state.log |= event.model_dump(
                        include={"duration", "queue_seconds", "inference_seconds"},
                        exclude_none=True,
                    )
                case Failed():
                    note_failure(request.state.log, event.error)
            if isinstance(event, Finished | Failed | Detected):
                note_end(request)
            yield event


async def _answered(
    request: Request,
    events: AsyncGenerator[Event, None],
    collect: Callable[[AsyncIterator[Event]], Awaitable[T]],
) -> T:
    """The events as they come where JSON Lines are accepted, else what they add up to."""

    async def collected() -> T:
        async with aclosing(events):
            return await collect(events)

    if JSON_LINES not in request.headers.get("accept", ""):
        return await until_disconnect(request, collected())
    first = await until_disconnect(request, anext(events))
    return EventLines(first, events)  # type: ignore[return-value]
