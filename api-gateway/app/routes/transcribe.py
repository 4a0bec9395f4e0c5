"""The documented route: one file in, its text out."""

import asyncio
from contextlib import closing, suppress
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel

from ..auth import require_key
from ..deps import admit, check_task, resolve_model, settings_of, worker_of
from ..edge import refuse_query, until_disconnect
from ..errors import InvalidRequest, MissingField
from ..fields import OptionFields
from ..formats.response_format import (
    RESPONSE_FORMATS,
    SUBTITLES,
    ResponseFormat,
    read_response_format,
)
from ..formats.style import SubtitleStyle, read_style, with_words
from ..formats.subtitles import WRITERS
from ..uploads import Upload
from ..wire import Options, Transcript, collect, form_fields, read_options
from .documented import MODEL_EXAMPLES, TEXT_ANSWERS, upload_body

UPLOAD = upload_body({"response_format": {"enum": RESPONSE_FORMATS, "default": "json"}})
OWN = frozenset({"response_format", *SubtitleStyle.model_fields})
"""Fields that the gateway reads itself."""
router = APIRouter(dependencies=[Depends(require_key)], tags=["transcribe"])


class Text(BaseModel):
    """The plain answer: exactly these two fields."""

    text: str
    language: str | None


class _Form(OptionFields):
    """The fields of one request: the worker's options, and the gateway's own."""

    def __init__(self) -> None:
        super().__init__()
        self._own: dict[str, str] = {}

    def knows(self, name: str) -> bool:
        """Whether there is such a field."""
        return name in OWN or super().knows(name)

    def add(self, name: str, value: str) -> None:
        """Take one field, or raise for what is wrong with it."""
        if name not in OWN:
            super().add(name, value)
            return
        if name in self._own:
            raise InvalidRequest(f"'{name}' was sent twice", param=name)
        if name == "response_format":
            read_response_format(value)
        else:
            with suppress(MissingField):  # it may still follow
                read_style({**self._layout, name: value})
        self._own[name] = value

    @property
    def _layout(self) -> dict[str, str]:
        return {name: value for name, value in self._own.items() if name != "response_format"}

    @property
    def response_format(self) -> ResponseFormat:
        """How the answer is wanted."""
        return read_response_format(self._own.get("response_format"))

    def style(self) -> SubtitleStyle:
        """How subtitles are laid out; refused for answers that are none."""
        style = read_style(self._layout)
        if style.chosen and self.response_format not in SUBTITLES:
            name = min(style.chosen)
            raise InvalidRequest(f"{name} needs response_format srt or vtt", param=name)
        return style

    def options(self) -> Options:
        """What the worker is asked for."""
        options, style = super().options(), self.style()
        return with_words(options, style) if self.response_format in SUBTITLES else options


@router.post(
    "/transcribe/{model:path}",
    response_model=Text,
    openapi_extra=UPLOAD,
    responses=TEXT_ANSWERS,
)
async def transcribe(
    request: Request,
    model: Annotated[str, Path(openapi_examples=MODEL_EXAMPLES)],
) -> Response | Text:
    """Turn one uploaded file into text.

    With `response_format=verbose_json` the answer also has the duration, segments and, if asked
    for, words; `text`, `srt` and `vtt` are plain text.
    """
    worker, request_id = worker_of(request), request.state.request_id
    model = resolve_model(request, model)
    refuse_query(request)
    form = _Form()
    with closing(Upload(request, settings_of(request).max_upload_bytes, form)) as upload:
        await upload.read_head()
        await check_task(request, model, read_options(form.fields))
        await admit(request, upload, model, form.fields)
        body = upload.body(lambda: form_fields(form.options()))

        async def answer() -> Transcript:
            async with worker.transcribe(model, body, upload.content_type, request_id) as events:
                return await collect(events)

        transcript = await until_disconnect(request, answer(), after=upload.is_read)
    request.state.log["duration"] = transcript.duration
    # Beside the event loop: hours of words take a third of a second.
    return await asyncio.to_thread(_rendered, transcript, form)


def _rendered(transcript: Transcript, form: _Form) -> Response | Text:
    match form.response_format:
        case "json":
            return Text(text=transcript.text, language=transcript.language)
        case "verbose_json":
            return JSONResponse(transcript.model_dump(mode="json"))
        case name:
            return PlainTextResponse(WRITERS[name](transcript, form.style()))
