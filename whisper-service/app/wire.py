"""The contract between gateway and worker: what a request may carry and what comes back.

The worker owns this file; the gateway holds a byte-for-byte copy, checked by a test. Only optional
fields and new event types are ever added; nothing is renamed and no unit changes. Seconds are floats,
sizes are bytes. Requests forbid what they do not know, replies ignore it, so workers deploy first.
"""

import json
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
)

from .errors import InvalidRequest, RemoteError, ServiceError, UnknownParameter
from .languages import language_code

Language = Annotated[str, AfterValidator(language_code)]


AUTO = "auto"
"""The word of whisper.cpp and others for a language that is to be detected."""


def _language_or_auto(value: str) -> str:
    return AUTO if value.strip().lower() == AUTO else language_code(value)


LanguageOrAuto = Annotated[str, AfterValidator(_language_or_auto)]

MAX_KEYS = 100
"""Of an object in a form field."""


def _read_json(value: Any) -> Any:
    if isinstance(value, str):
        try:
            return json.loads(value)
        except (ValueError, RecursionError) as exc:
            raise ValueError("is not valid JSON") from exc
    return value


def _read_object(value: Any) -> Any:
    """Form fields are text: an object is written as JSON, and null for one of which nothing is set."""
    read = _read_json(value)
    if isinstance(read, dict) and len(read) > MAX_KEYS:
        raise ValueError("has too many keys")  # each unknown one would be looked at
    return {} if read is None else read


def _read_list(value: Any) -> Any:
    """Form fields are text: a list is written as JSON or with commas."""
    if isinstance(value, str) and not value.lstrip().startswith("["):
        return [item.strip() for item in value.split(",") if item.strip()]
    return _read_json(value)


class VadParameters(BaseModel):
    """How speech is told from silence; faster-whisper's names."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    threshold: float = Field(0.5, gt=0, lt=1)
    """Speech probability from which on it is speech."""
    neg_threshold: float | None = Field(None, ge=0, lt=1)
    """Probability below which speech ends; unset is 0.15 below `threshold`."""
    min_speech_duration_ms: int = Field(0, ge=0, le=60_000)
    """Shorter speech is dropped."""
    max_speech_duration_s: float | None = Field(None, ge=1, le=30)
    """Windows hold at most so many seconds of speech, and end in a pause where there is one; unset means 30."""
    min_silence_duration_ms: int = Field(2000, ge=0, le=60_000)
    """Silence that ends a stretch of speech."""
    speech_pad_ms: int = Field(400, ge=0, le=5_000)
    """What is kept on both sides of speech."""


# The first wrong item ends it: to word each of 100,000 takes a second.
Languages = Annotated[
    list[Language], Field(max_length=100, fail_fast=True), BeforeValidator(_read_list)
]
TokenIds = Annotated[
    list[Annotated[int, Field(ge=-1)]],
    Field(max_length=10_000, fail_fast=True),
    BeforeValidator(_read_list),
]


class Options(BaseModel):
    """What a request may ask of the worker; None means the worker's default."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    language: LanguageOrAuto | None = None
    """Language spoken; `auto` detects it, and so does unset where the worker has no `WHISPER_LANGUAGE`."""
    task: Literal["transcribe", "translate"] = "transcribe"
    """`translate` gives English text."""
    prompt: str | None = Field(None, max_length=100_000)
    """Text that sets style and spelling; its last 223 tokens count."""
    prefix: str | None = Field(None, max_length=10_000)
    """Text that the first window begins with; its first 112 tokens count."""
    hotwords: str | None = Field(None, max_length=100_000)
    """Words that are likely to be said, told to every window but one with a `prefix`: the first 223 tokens of them, which leave so many fewer to `prompt`; blank means none."""
    temperature: float | None = Field(None, ge=0, le=1)
    """0 or unset is Whisper's fallback ladder; above 0 is that number alone."""
    beam_size: int | None = Field(None, ge=1, le=20)
    """Hypotheses followed at temperature 0."""
    best_of: int = Field(5, ge=1, le=20)
    """Samples drawn at temperatures above 0; the best counts."""
    patience: float = Field(1.0, gt=0, le=4)
    """Beam search goes on until `beam_size * patience` hypotheses are complete."""
    length_penalty: float = Field(1.0, ge=0, le=4)
    """Exponent of the length by which hypotheses are compared."""
    repetition_penalty: float = Field(1.0, ge=0.01, le=4)
    """Above 1, tokens that were said already get less likely."""
    no_repeat_ngram_size: int = Field(0, ge=0, le=100)
    """Runs of so many tokens never come twice; 0 is off."""
    compression_ratio_threshold: float = Field(2.4, gt=0)
    """Text that compresses better than this is repetition: the next temperature is tried."""
    log_prob_threshold: float = Field(-1.0, le=0)
    """Mean log-probability below which the next temperature is tried."""
    no_speech_threshold: float = Field(0.6, ge=0, le=1)
    """Probability of no speech above which an unlikely window is silence."""
    condition_on_previous_text: bool | None = None
    """Tell each window what was said before; unset is false with `vad_filter`, else true."""
    prompt_reset_on_temperature: float = Field(0.5, ge=0, le=1)
    """After a window that needed a higher temperature, what was said before is forgotten."""
    suppress_blank: bool = True
    """A window never begins with nothing."""
    suppress_tokens: TokenIds = [-1]
    """Token ids that are never said; -1 stands for symbols that are not speech."""
    without_timestamps: bool | None = None
    """Decode text alone, with times from alignment; unset is true on CUDA for windows cut by the VAD that are not told what was said before."""
    max_initial_timestamp: float = Field(1.0, ge=0, le=30)
    """Latest start of a window's first segment, in seconds."""
    vad_filter: bool | None = None
    """Skip what is not speech."""
    vad_parameters: Annotated[VadParameters, BeforeValidator(_read_object)] = VadParameters()
    """JSON object: how speech is told from silence."""
    word_timestamps: bool = False
    """Add start, end and probability of each word."""
    hallucination_silence_threshold: float | None = Field(None, gt=0)
    """With word timestamps: skip silences longer than this around text that may be invented."""
    logprobs: bool = False
    """Add the log-probability of each token of the text."""
    languages: Languages | None = None
    """Languages that are expected; see `on_other_language`."""
    on_other_language: Literal["allow", "nearest", "reject"] = "nearest"
    """When another than `languages` is heard: `allow` takes it, `nearest` the likeliest of them, `reject` is 400."""
    language_detection_threshold: float = Field(0.5, ge=0, le=1)
    """Probability from which on one window settles the language."""
    language_detection_segments: int = Field(1, ge=1, le=20)
    """Windows that are heard for the language, each with those behind it until somebody has spoken for 3 s; without a clear one the majority decides."""
    multilingual: bool = False
    """Detect the language of every window anew."""
    doubtful: Literal["keep", "flag", "drop"] = "flag"
    """Segments that may be invented: `keep` them as they are, `flag` them with the reasons, or `drop` them."""
    adaptive_window: bool | None = None
    """Encode a short clip at its own length: much faster, with a risk of worse text."""
    deadline: float | None = Field(None, gt=0)
    """Seconds; a request that cannot end by then is refused at once."""
    tenant: str = Field("", max_length=256)
    """Who shares the worker fairly with others, as the worker's caller tells it; no client may."""
    priority: Literal["live", "interactive", "bulk"] = "interactive"
    """Class in the queue, as the worker's caller tells it; no client may."""

    @property
    def named_language(self) -> str | None:
        """The language that the request names; None where it names none, or asks for detection."""
        return None if self.language == AUTO else self.language


DETECTION_OPTIONS = frozenset(
    {
        *("languages", "on_other_language"),
        *("language_detection_threshold", "language_detection_segments"),
        *("vad_filter", "vad_parameters", "adaptive_window"),
        *("deadline", "tenant", "priority"),
    }
)
"""Options that the language or its place in the queue depends on; the others are about the text."""


def refuse_text_options(options: Options) -> None:
    """Raise InvalidRequest for an option that means nothing where only the language is asked for."""
    for name, field in Options.model_fields.items():
        is_auto = name == "language" and options.language == AUTO
        is_unset = getattr(options, name) == field.default or is_auto
        if name not in DETECTION_OPTIONS and not is_unset:
            message = f"'{name}' means nothing where only the language is asked for"
            raise InvalidRequest(message, param=name)


def option_schemas(names: Collection[str]) -> dict[str, dict[str, Any]]:
    """JSON Schema of each of these options, whole in itself, as OpenAPI describes form fields."""
    schema = Options.model_json_schema()
    kinds = schema.get("$defs", {})
    for kind in kinds.values():
        kind.pop("title", None)
    fields = schema["properties"].items()
    return {name: _inlined(field, kinds) for name, field in fields if name in names}


def _inlined(field: dict[str, Any], kinds: dict[str, Any]) -> dict[str, Any]:
    """A field with the object that it refers to, if any, in its place."""
    kind = kinds.get(field.get("$ref", "").rpartition("/")[2], {})
    return {name: value for name, value in (kind | field).items() if name != "$ref"}


def stripped(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Form fields without the blanks around their values, as the line end of one that curl reads from a file."""
    return {k: v.strip() if isinstance(v, str) else v for k, v in fields.items()}


def read_options(fields: Mapping[str, Any]) -> Options:
    """Check form fields; an empty value or null means unset. Raises errors that name the field."""
    read = stripped(fields).items()
    given = {k: v for k, v in read if v not in ("", "null") or k not in Options.model_fields}
    try:
        return Options.model_validate(given)
    except ValidationError as exc:
        raise refused(exc.errors()[0]) from exc


def refused(fault: Any, *within: str) -> InvalidRequest:
    """A fault that pydantic found in what a client sent, in the client's own names.

    Its place is told in full, as `vad_parameters.threshold`; `within` stands before it.
    """
    names = [*within, *map(str, fault["loc"])]
    place = ".".join(names)
    message = fault["msg"].removeprefix("Value error, ")
    match fault["type"]:
        case "extra_forbidden":
            return UnknownParameter(f"Unknown parameter: '{place}'", param=place)
        case "model_type" | "model_attributes_type":  # its own message has the name of a class
            message = "Input should be an object"
    if not names:
        return InvalidRequest(message)
    return InvalidRequest(f"{place}: {message}", param=names[0])


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
    """Requests that wait now, without those of a lower priority that have not aged into this one's."""
    predicted_start_seconds: float = 0.0
    """Until its first window runs."""


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
    flags: list[str] = []
    """Why the text may be wrong: repetition, low_logprob, no_speech, outside_speech, language_switch."""


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
    retryable: bool | None = None

    @property
    def error(self) -> RemoteError:
        """The same as an exception."""
        return RemoteError(
            self.status, self.code, self.message, param=self.param, retryable=self.retryable
        )


class DetectedLanguage(_Reply):
    """Which language is spoken; null when nothing is said. Probabilities of all languages, 0 to 1."""

    language: str | None = None
    language_probability: float | None = None
    probabilities: dict[str, float] = {}


class Detected(DetectedLanguage):
    """Last event where the language alone was asked for."""

    type: Literal["detected"] = "detected"


Event = Started | Segment | Progress | Finished | Failed | Detected
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


async def collect(events: AsyncIterator[Event]) -> Transcript:
    """The JSON answer: the same events, put together. Raises the failure that they end with."""
    segments: list[Segment] = []
    async for event in events:
        match event:
            case Segment():
                segments.append(event)
            case Failed():
                raise event.error
            case Finished():
                return Transcript(**event.model_dump(), text=joined(segments), segments=segments)
    raise ServiceError("The work ended without a result")


def joined(segments: Iterable[Segment]) -> str:
    """The transcript as one text, which is also what streamed segments add up to."""
    return "".join(segment.text for segment in segments).strip()


async def collect_language(events: AsyncIterator[Event]) -> DetectedLanguage:
    """The language that the events end with. Raises the failure that they end with instead."""
    async for event in events:
        match event:
            case Failed():
                raise event.error
            case Detected():
                return DetectedLanguage.model_validate(event.model_dump())
    raise ServiceError("The work ended without a result")


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
    reason: str | None = None
    """Why it is not here yet, where the hub could not give it; it is asked again."""


class FailedModel(_Reply):
    """A model that cannot be had, with the reason in one sentence."""

    model: str
    reason: str


class Health(_Reply):
    """The worker's state; `status` is ok while a model is ready and none has stalled."""

    status: Literal["ok", "loading", "stalled", "unreachable"]
    loaded_models: list[str] = []
    pending: list[PendingModel] = []
    failed: list[FailedModel] = []
