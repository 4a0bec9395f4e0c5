"""Which language is spoken in a file, without its text."""

from contextlib import closing
from typing import Annotated

from fastapi import APIRouter, Depends, Path, Request

from ..auth import require_key
from ..deps import admit, resolve_model, settings_of, worker_of
from ..edge import refuse_query, until_disconnect
from ..fields import OptionFields
from ..uploads import Upload
from ..wire import DetectedLanguage, Options, form_fields, refuse_text_options
from .documented import DETECTION, ERRORS, MODEL_EXAMPLES

router = APIRouter(dependencies=[Depends(require_key)], tags=["transcribe"])


class _Form(OptionFields):
    """The fields of one request: what the language depends on."""

    def check(self, options: Options) -> None:
        """Refuse what means nothing where only the language is asked for, before the file has come."""
        refuse_text_options(options)


@router.post("/detect-language/{model:path}", openapi_extra=DETECTION, responses=ERRORS)
async def detect_language(
    request: Request, model: Annotated[str, Path(openapi_examples=MODEL_EXAMPLES)]
) -> DetectedLanguage:
    """Say which language is spoken in the first windows that hold speech; null when nobody speaks.

    `language_detection_segments` windows are heard at most, `languages` limits the choice.
    """
    worker, request_id = worker_of(request), request.state.request_id
    model = resolve_model(request, model)
    refuse_query(request)
    form = _Form()
    with closing(Upload(request, settings_of(request).max_upload_bytes, form)) as upload:
        await upload.read_head()
        await admit(request, upload, model, form.fields)
        body = upload.body(lambda: form_fields(form.options()))
        work = worker.detect_language(model, body, upload.content_type, request_id)
        # One call sends the body and awaits the answer; while it sends, reading tells who has left.
        return await until_disconnect(request, work, after=upload.is_read)
