"""The documented route: one file in, its text out."""

from collections.abc import AsyncGenerator
from contextlib import closing
from typing import Annotated, Any, Literal, get_args

from fastapi import APIRouter, Depends, Path, Request
from fastapi.openapi.models import Example
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel

from ..auth import require_key
from ..deps import resolve_model, settings_of, worker_of
from ..edge import documented, until_disconnect
from ..errors import (
    AudioTooLong,
    FileTooLarge,
    InvalidAudio,
    InvalidKey,
    InvalidRequest,
    MissingKey,
    ModelNotFound,
    ModelPending,
    Overloaded,
    RemoteError,
    RequestTimeout,
    ServiceError,
    StorageFull,
    UnknownParameter,
    UnsupportedMedia,
    WorkerLost,
    WorkerTimeout,
    WorkerUnreachable,
)
from ..formats.style import SubtitleStyle, read_style, with_words
from ..formats.subtitles import srt, vtt
from ..uploads import Upload
from ..wire import (
    Event,
    Failed,
    Finished,
    Options,
    Segment,
    Transcript,
    form_fields,
    read_options,
)

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]

UPLOAD_BODY: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    "type": "object",
                    "required": ["file"],
                    "properties": {
                        "file": {"type": "string", "format": "binary"},
                        "response_format": {"enum": get_args(ResponseFormat), "default": "json"},
                        **Options.model_json_schema()["properties"],
                        **SubtitleStyle.model_json_schema()["properties"],
                    },
                }
            }
        },
    }
}
ERRORS = documented(
    InvalidRequest("beam_size: Input should be less than or equal to 20", param="beam_size"),
    UnknownParameter("Unknown parameter: 'colour'", param="colour"),
    InvalidAudio("The file is empty", param="file"),
    UnsupportedMedia("Not an audio or video file that can be read", param="file"),
    MissingKey("Missing bearer token"),
    InvalidKey("Invalid token"),
    ModelNotFound("The model 'x' does not exist or you do not have access to it.", param="model"),
    RequestTimeout("The request took too long to arrive"),
    FileTooLarge("The upload is larger than the limit of 1073741824 bytes", param="file"),
    AudioTooLong("The audio is longer than the limit of 14400 seconds", param="file"),
    ServiceError("Internal server error"),
    WorkerLost("The connection to the model service was lost"),
    WorkerUnreachable("The model service cannot be reached"),
    Overloaded("Too many requests are waiting"),
    ModelPending("The model 'large-v3' is still being fetched", param="model"),
    WorkerTimeout("The model service gave no sign of life in time"),
    StorageFull("The server has no room left for uploads"),
)

router = APIRouter(dependencies=[Depends(require_key)], tags=["transcribe"])


class Text(BaseModel):
    """The plain answer: exactly these two fields."""

    text: str
    language: str | None


class _Form:
    """The fields of one request: the worker's options, and the format, which is the gateway's."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}
        self._layout: dict[str, str] = {}
        self.response_format: ResponseFormat = "json"

    def add(self, name: str, value: str) -> None:
        """Take one field, or raise for what is wrong with it."""
        if name == "response_format":
            if value not in ("", *get_args(ResponseFormat)):
                known = ", ".join(get_args(ResponseFormat))
                raise InvalidRequest(f"response_format must be one of {known}", param=name)
            self.response_format = value or "json"  # type: ignore[assignment]
            return
        fields = self._layout if name in SubtitleStyle.model_fields else self.fields
        if name in fields:
            raise InvalidRequest(f"'{name}' was sent twice", param=name)
        if fields is self.fields:
            read_options({name: value})
        fields[name] = value

    def style(self) -> SubtitleStyle:
        """How subtitles are laid out; refused for answers that are none."""
        style = read_style(self._layout)
        if style.model_fields_set and self.response_format not in ("srt", "vtt"):
            name = min(style.model_fields_set)
            raise InvalidRequest(f"{name} needs response_format srt or vtt", param=name)
        return style

    def options(self) -> Options:
        """What the worker is asked for."""
        options, style = read_options(self.fields), self.style()
        return with_words(options, style) if self.response_format in ("srt", "vtt") else options


MODEL_EXAMPLES: dict[str, Example] = {
    name: {"value": name} for name in ("small", "medium", "large-v3", "large-v3-turbo")
}


@router.post("/transcribe/{model:path}", openapi_extra=UPLOAD_BODY, responses=ERRORS)
async def transcribe(
    request: Request,
    model: Annotated[str, Path(openapi_examples=MODEL_EXAMPLES)],
) -> Text:
    """Turn one uploaded file into text.

    With `response_format=verbose_json` the answer also has the duration, segments and, if asked
    for, words; `text`, `srt` and `vtt` are plain text.
    """
    worker, request_id = worker_of(request), request.state.request_id
    model = resolve_model(request, model)
    form = _Form()
    with closing(Upload(request, settings_of(request).max_upload_bytes, form.add)) as upload:
        await upload.read_head()
        size = request.headers.get("content-length")
        await worker.admit(model, form.fields, int(size) if size else None, request_id)
        body = upload.body(lambda: form_fields(form.options()))
        async with worker.transcribe(model, body, upload.content_type, request_id) as events:
            transcript = await until_disconnect(request, collect(events))
    request.state.log |= {"duration": transcript.duration}
    return _rendered(transcript, form)  # type: ignore[return-value]


def _rendered(transcript: Transcript, form: _Form) -> Response | Text:
    match form.response_format:
        case "json":
            return Text(text=transcript.text, language=transcript.language)
        case "verbose_json":
            return JSONResponse(transcript.model_dump(mode="json"))
        case "text":
            return PlainTextResponse(f"{transcript.text}\n")
        case "srt":
            return PlainTextResponse(srt(transcript.segments, form.style()))
        case "vtt":
            return PlainTextResponse(vtt(transcript.segments, form.style()))


async def collect(events: AsyncGenerator[Event, None]) -> Transcript:
    """The whole answer; raises the failure that the events end with."""
    segments: list[Segment] = []
    async for event in events:
        match event:
            case Segment():
                segments.append(event)
            case Failed():
                raise RemoteError(event.status, event.code, event.message, param=event.param)
            case Finished():
                text = " ".join(segment.text.strip() for segment in segments).strip()
                return Transcript(**event.model_dump(), text=text, segments=segments)
    raise WorkerLost("The model service was lost before it had finished")
