"""What the OpenAPI page says of the routes that take a file: their forms, and every error.

The forms are read as they arrive, not by FastAPI, so they are described here by hand; the options
among them come from the contract and cannot fall out of step.
"""

from typing import Any

from fastapi.openapi.models import Example

from ..auth import IncorrectKey
from ..edge import documented, documented_form
from ..errors import (
    OF_A_FILE,
    InvalidKey,
    MissingField,
    MissingKey,
    ModelNotFound,
    NotImplementedYet,
    WorkerLost,
    WorkerTimeout,
    WorkerUnreachable,
)
from ..fields import GATEWAYS_OWN
from ..formats.response_format import RESPONSE_FORMATS
from ..formats.style import SubtitleStyle
from ..wire import DETECTION_OPTIONS, Options, option_schemas

MODEL_EXAMPLES: dict[str, Example] = {
    name: {"value": name} for name in ("small", "medium", "large-v3", "large-v3-turbo")
}


def upload_body(fields: dict[str, Any], required: tuple[str, ...] = ("file",)) -> dict[str, Any]:
    """Describe a multipart form: a file, the worker's options, subtitles, a route's own fields."""
    layout = SubtitleStyle.model_json_schema()["properties"]
    options = option_schemas(Options.model_fields.keys() - GATEWAYS_OWN)
    return documented_form({**options, **layout, **fields}, required)


_WORKER_ERRORS = (
    WorkerLost("The connection to the model service was lost"),
    WorkerUnreachable("The model service cannot be reached", retry_after=5),
    WorkerTimeout("The model service gave no sign of life in time"),
)
_UNKNOWN_MODEL = ModelNotFound(
    "The model 'x' does not exist or you do not have access to it.", param="model"
)
_ERRORS = (*OF_A_FILE, _UNKNOWN_MODEL, *_WORKER_ERRORS)
_OPENAI_KEYS = (
    MissingKey("You didn't provide an API key."),
    IncorrectKey("Incorrect API key provided."),
)
ERRORS = documented(*_ERRORS, MissingKey("Missing bearer token"), InvalidKey("Invalid token"))
MODEL_ERRORS = documented(*_WORKER_ERRORS, *_OPENAI_KEYS)
ONE_MODEL_ERRORS = documented(_UNKNOWN_MODEL, *_WORKER_ERRORS, *_OPENAI_KEYS)
_OPENAI_ERRORS = (
    *_ERRORS,
    MissingField("The field 'model' is missing", param="model"),
    *_OPENAI_KEYS,
)
_TEXT = {"schema": {"type": "string"}}
_ANSWER: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "What was said, as `response_format` and `stream` ask for it",
        "content": {"application/json": {}, "text/plain": _TEXT, "text/event-stream": _TEXT},
    }
}
TEXT_ANSWERS = ERRORS | {
    200: {
        "description": "What was said, as `response_format` asks for it",
        "content": {"application/json": {}, "text/plain": _TEXT},
    }
}
TRANSLATION_ANSWERS = _ANSWER | documented(*_OPENAI_ERRORS)
TRANSCRIPTION_ANSWERS = _ANSWER | documented(
    *_OPENAI_ERRORS,
    NotImplementedYet("diarized_json is not served", param="response_format"),
)

_STRINGS = {"type": "array", "items": {"type": "string"}}
_MODEL = {"type": "string", "examples": ["whisper-1", "small"]}

OPENAI_UPLOAD = upload_body(
    {
        "model": _MODEL,
        "response_format": {"enum": RESPONSE_FORMATS, "default": "json"},
        "stream": {"type": "boolean", "default": False},
        "progress": {"type": "boolean", "default": False},
        "timestamp_granularities[]": {"type": "array", "items": {"enum": ["word", "segment"]}},
        "include[]": {"type": "array", "items": {"enum": ["logprobs"]}},
        "languages[]": _STRINGS,
        "keywords[]": _STRINGS,
        "initial_prompt": {"type": "string", "description": "Another name of `prompt`."},
        "chunking_strategy": {"type": "string", "examples": ["auto"]},
        "known_speaker_names[]": _STRINGS | {"description": "Checked; no effect."},
        "known_speaker_references[]": _STRINGS | {"description": "Checked; no effect."},
    },
    required=("file", "model"),
)
DETECTION = documented_form(option_schemas(DETECTION_OPTIONS - GATEWAYS_OWN))
