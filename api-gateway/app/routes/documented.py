"""What the OpenAPI page says of the routes that take a file: their forms, and every error.

The forms are read as they arrive, not by FastAPI, so they are described here by hand; the options
among them come from the contract and cannot fall out of step.
"""

from typing import Any

from fastapi.openapi.models import Example

from ..auth import IncorrectKey
from ..edge import documented, documented_form
from ..errors import (
    AudioTooLong,
    FileTooLarge,
    InvalidAudio,
    InvalidKey,
    InvalidRequest,
    MissingField,
    MissingKey,
    ModelNotFound,
    ModelPending,
    ModelUnavailable,
    NotImplementedYet,
    Overloaded,
    RequestTimeout,
    ServiceError,
    StorageFull,
    UnknownParameter,
    UnsupportedMedia,
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


_ERRORS = (
    InvalidRequest("beam_size: Input should be less than or equal to 20", param="beam_size"),
    UnknownParameter("Unknown parameter: 'colour'", param="colour"),
    InvalidAudio("The file is empty", param="file"),
    UnsupportedMedia("Not an audio or video file that can be read", param="file"),
    ModelNotFound("The model 'x' does not exist or you do not have access to it.", param="model"),
    RequestTimeout("The request took too long to arrive"),
    FileTooLarge("The upload is larger than the limit of 1073741824 bytes", param="file"),
    AudioTooLong("The audio is longer than the limit of 14400 seconds", param="file"),
    ServiceError("Internal server error"),
    WorkerLost("The connection to the model service was lost"),
    WorkerUnreachable("The model service cannot be reached"),
    Overloaded("Too many requests are waiting"),
    ModelPending("The model 'large-v3' is still being fetched", param="model"),
    ModelUnavailable("The model 'large-v3' could not be loaded", param="model"),
    WorkerTimeout("The model service gave no sign of life in time"),
    StorageFull("The server has no room left for uploads"),
)
ERRORS = documented(*_ERRORS, MissingKey("Missing bearer token"), InvalidKey("Invalid token"))
OPENAI_ERRORS = documented(
    *_ERRORS,
    MissingField("The field 'model' is missing", param="model"),
    MissingKey("You didn't provide an API key."),
    IncorrectKey("Incorrect API key provided."),
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
