"""The contract between gateway and worker: what a request may carry and what comes back.

The worker owns this file; the gateway holds a byte-for-byte copy, checked by a test. Only optional
fields and new event types are ever added; nothing is renamed and no unit changes. Seconds are floats,
sizes are bytes. Requests forbid what they do not know, replies ignore it, so workers deploy first.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from .errors import InvalidRequest, UnknownParameter
from .languages import language_code

Language = Annotated[str, AfterValidator(language_code)]


class Options(BaseModel):
    """What a request may ask of the worker; None means the worker's default."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    language: Language | None = None
    """Language spoken; unset means that it is detected."""
    task: Literal["transcribe", "translate"] = "transcribe"
    """`translate` gives English text."""
    prompt: str | None = Field(None, max_length=100_000)
    """Text that sets style and spelling; its last 223 tokens count."""
    hotwords: str | None = Field(None, max_length=100_000)
    """Words that are likely to be said, in every window; blank means none."""
    temperature: float | None = Field(None, ge=0, le=1)
    """0 or unset is Whisper's fallback ladder; above 0 is that number alone."""
    beam_size: int | None = Field(None, ge=1, le=20)
    """Hypotheses followed at temperature 0."""
    vad_filter: bool | None = None
    """Skip what is not speech."""
    word_timestamps: bool = False
    """Add start, end and probability of each word."""
    logprobs: bool = False
    """Add the log-probability of each token of the text."""


def read_options(fields: Mapping[str, Any]) -> Options:
    """Check form fields; an empty value means unset. Raises errors that name the field."""
    given = {k: v for k, v in fields.items() if v != "" or k not in Options.model_fields}
    try:
        return Options.model_validate(given)
    except ValidationError as exc:
        first = exc.errors()[0]
        param = str(first["loc"][0])
        if first["type"] == "extra_forbidden":
            raise UnknownParameter(f"Unknown parameter: '{param}'", param=param) from exc
        raise InvalidRequest(f"{param}: {first['msg']}", param=param) from exc


def form_fields(options: Options) -> dict[str, str]:
    """The form fields that `read_options` reads back to the same options."""
    given = options.model_dump(exclude_unset=True, exclude_none=True)
    return {k: v if isinstance(v, str) else json.dumps(v) for k, v in given.items()}


class _Reply(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class Word(_Reply):
    """One word; times in seconds from the start of the file, probability 0 to 1."""

    word: str
    start: float
    end: float
    probability: float


class TokenLogprob(_Reply):
    """One token of the text; a character may be spread over the bytes of several tokens."""

    token: str
    bytes: list[int]
    logprob: float


class Started(_Reply):
    """First event: the request is admitted and its file is whole on the worker."""

    type: Literal["started"] = "started"
    request_id: str
    model: str
    queue_position: int = 0
    predicted_start_seconds: float = 0.0


class Segment(_Reply):
    """A stretch of text that is final. `text` keeps its leading space; `seek` is in frames of 10 ms."""

    type: Literal["segment"] = "segment"
    id: int
    seek: int
    start: float
    end: float
    text: str
    tokens: list[int]
    temperature: float
    avg_logprob: float
    compression_ratio: float
    no_speech_prob: float
    words: list[Word] | None = None
    logprobs: list[TokenLogprob] | None = None


class Progress(_Reply):
    """How far the work is; also the sign of life, at least every 10 s."""

    type: Literal["progress"] = "progress"
    stage: str
    audio_seconds_done: float
    audio_seconds_total: float | None = None
    eta_seconds: float | None = None


class Finished(_Reply):
    """Last event of a good request. `language` is null when nothing was said."""

    type: Literal["finished"] = "finished"
    language: str | None = None
    language_probability: float | None = None
    duration: float
    speech_seconds: float | None = None
    dropped_seconds: float | None = None
    queue_seconds: float | None = None
    load_seconds: float | None = None
    vad_seconds: float | None = None
    inference_seconds: float | None = None
    rtf: float | None = None
    flags: list[str] = []


class Failed(_Reply):
    """Last event of a request that failed after its first byte was sent."""

    type: Literal["failed"] = "failed"
    status: int
    code: str
    message: str
    param: str | None = None


Event = Started | Segment | Progress | Finished | Failed
_EVENTS = TypeAdapter[Event](Annotated[Event, Field(discriminator="type")])
_KNOWN = {event.model_fields["type"].default for event in get_args(Event)}


def parse_event(line: str | bytes) -> Event | None:
    """Read one line of the event stream; None for a type of event that a newer worker has added.

    Raises ValueError for what is not an event at all.
    """
    event = json.loads(line)
    if not isinstance(event, dict) or not isinstance(event.get("type"), str):
        raise ValueError("an event is an object with a type")
    return _EVENTS.validate_python(event) if event["type"] in _KNOWN else None


class Transcript(Finished):
    """The collected answer: the last event with the segments and their text before it."""

    type: Literal["finished"] = Field("finished", exclude=True)
    text: str
    segments: list[Segment]


class Admission(BaseModel):
    """Asked before an upload: would a request with these options and this size be taken now?"""

    model_config = ConfigDict(extra="forbid")

    options: dict[str, Any] = {}
    size: int | None = Field(None, ge=0)


class ModelInfo(_Reply):
    """What one configured model can do."""

    id: str
    status: Literal["pending", "ready", "failed"]
    languages: list[str] = []
    tasks: list[str] = []
    word_timestamps: bool = True


class PendingModel(_Reply):
    """A model that is still being fetched or loaded; progress 0 to 1, null when it is not known."""

    model: str
    stage: str
    progress: float | None = None


class FailedModel(_Reply):
    """A model that cannot be had, with the reason in one sentence."""

    model: str
    reason: str


class Health(_Reply):
    """The worker's state; `status` is ok once the first model is ready."""

    status: Literal["ok", "loading", "stalled", "unreachable"]
    loaded_models: list[str] = []
    pending: list[PendingModel] = []
    failed: list[FailedModel] = []
