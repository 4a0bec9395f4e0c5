"""The form of OpenAI's `/v1/audio/*` routes: what was asked for, what is ignored, what is refused.

Besides OpenAI's own fields, everything that the worker takes and the layout of subtitles can be sent,
as the SDKs' `extra_body` does. What has no effect is ignored and named (`X-Ignored-Params`).
"""

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from .errors import InvalidRequest, MissingField, NotImplementedYet
from .fields import GATEWAYS_OWN, Fields, split_name
from .formats.openai import Granularity
from .formats.response_format import SUBTITLES, ResponseFormat, read_response_format
from .formats.style import SubtitleStyle, read_style, with_words
from .multipart import MAX_FIELD_BYTES, MAX_LONG_FIELD_BYTES
from .wire import Options, read_options, refused

T = TypeVar("T")
Task = Literal["transcribe", "translate"]
STREAMABLE: set[ResponseFormat] = {"json", "text"}
LISTS = frozenset({"languages", "suppress_tokens"})
"""Options that are lists; the other ones are single values."""
MAX_SPEAKERS = 4
REFERENCES = "known_speaker_references"
REFERENCE_CHARS = 256
"""What is kept of each: it has no effect, and its beginning says whether it is a data URL."""
KNOWN = frozenset(
    {
        *("model", "response_format", "stream", "progress", "chunking_strategy", "keywords"),
        *("timestamp_granularities", "include", "initial_prompt"),
        *("known_speaker_names", REFERENCES),
        *(Options.model_fields.keys() - GATEWAYS_OWN),
        *SubtitleStyle.model_fields,
    }
)
"""Every field that is read, whether it has an effect or not."""

_DATA_URL = re.compile(
    r"""data:[\w.+-]+/[\w.+-]+(;\ *[\w.+-]+="?[\w.+,\ -]+"?)*;\ *base64,""",
    re.ASCII | re.IGNORECASE,
)


class ServerVad(BaseModel):
    """`chunking_strategy` as an object."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["server_vad"]
    prefix_padding_ms: Annotated[int, Field(ge=0, le=5_000)] | None = None
    silence_duration_ms: Annotated[int, Field(ge=0, le=60_000)] | None = None
    threshold: Annotated[float, Field(ge=0, le=1)] | None = None

    def vad_parameters(self) -> dict[str, Any] | None:
        """The same under the worker's names."""
        threshold = self.threshold
        if threshold is not None:
            # OpenAI's range has its ends, at which everything is speech or nothing; the worker's has not.
            threshold = min(max(threshold, 1e-6), 1 - 1e-6)
        named = {
            "speech_pad_ms": self.prefix_padding_ms,
            "min_silence_duration_ms": self.silence_duration_ms,
            "threshold": threshold,
        }
        return {name: value for name, value in named.items() if value is not None} or None


@dataclass(frozen=True)
class Asked:
    """One request, understood; `ignored` names what has no effect, `unknown` that which never has any."""

    model: str
    options: Options
    response_format: ResponseFormat
    granularities: list[Granularity]
    stream: bool
    segment_events: bool
    progress: bool
    style: SubtitleStyle
    ignored: list[str]
    unknown: list[str]


@dataclass
class OpenAIForm:
    """Collects the fields of one request; `read` may be called at any time for those so far.

    Nothing in `query`, the names in its address, is read.
    """

    task: Task
    query: Collection[str] = ()
    fields: Fields = field(default_factory=Fields)

    def knows(self, name: str) -> bool:
        """Whether a field of this name is read."""
        return split_name(name)[0] in KNOWN

    def max_bytes(self, name: str) -> int:
        """How large a field may be."""
        is_long = split_name(name)[0] == REFERENCES
        return MAX_LONG_FIELD_BYTES if is_long else MAX_FIELD_BYTES

    def add(self, name: str, value: str) -> None:
        """Take one field as it stands in the form, but of references only their beginnings."""
        if split_name(name)[0] != REFERENCES:
            self.fields.add(name, value)
            return
        whole = Fields()
        whole.add(name, value)
        # One too many is enough to be refused.
        for reference in whole.texts(REFERENCES, by_commas=False)[: MAX_SPEAKERS + 1]:
            self.fields.add(f"{REFERENCES}[]", reference[:REFERENCE_CHARS])

    def read(self) -> Asked:
        """Understand the fields so far.

        Raises MissingField for what may still follow, InvalidRequest for what is wrong, and
        NotImplementedYet for speakers.
        """
        fields = self.fields
        response_format = self._response_format()
        stream = _parsed(fields, "stream", bool, False)
        if stream and response_format not in STREAMABLE:
            message = f"response_format '{response_format}' cannot be streamed: use json or text"
            raise InvalidRequest(message, param="response_format")
        granularities = _parsed_list(fields, "timestamp_granularities", list[Granularity])
        logprobs = bool(_parsed_list(fields, "include", list[Literal["logprobs"]]))
        progress = _parsed(fields, "progress", bool, False)
        style = read_style({name: fields.text(name) for name in SubtitleStyle.model_fields})
        timed = stream or response_format == "verbose_json"
        in_vain = {
            "timestamp_granularities": granularities and not timed,
            "include": logprobs and response_format != "json",
            "progress": progress and not stream,
            "task": self.task == "translate" and fields.text("task") is not None,
            **dict.fromkeys(style.chosen, response_format not in SUBTITLES),
            **dict.fromkeys(_check_speakers(fields), True),
        }
        logprobs = logprobs and response_format == "json"
        options = _options(fields, self.task, logprobs)
        in_vain["logprobs"] = options.logprobs and response_format != "json" and not stream
        in_vain |= _outdone(fields, options)
        if response_format in SUBTITLES:
            options = with_words(options, style)
        else:
            options, granularities, in_vain["word_timestamps"] = _with_words(
                options, granularities, timed=timed
            )
        threshold = options.hallucination_silence_threshold
        in_vain["hallucination_silence_threshold"] = (
            threshold is not None and not options.word_timestamps
        )
        model = fields.text("model")
        if model is None:
            raise MissingField("The field 'model' is missing", param="model")
        unknown = list(dict.fromkeys([*fields.unread(), *self.query]))
        return Asked(
            model=model,
            options=options,
            response_format=response_format,
            granularities=granularities or ["segment"],
            stream=stream,
            segment_events=bool(granularities),
            progress=progress,
            style=style,
            ignored=[*unknown, *(name for name, vain in in_vain.items() if vain)],
            unknown=unknown,
        )

    def _response_format(self) -> ResponseFormat:
        name = self.fields.text("response_format")
        if name == "diarized_json" and self.task == "transcribe":
            message = "diarized_json is not served: this server does not tell speakers apart"
            raise NotImplementedYet(message, param="response_format")
        return read_response_format(name)


def _options(fields: Fields, task: Task, logprobs: bool) -> Options:
    """The worker's options, under its own names and under OpenAI's."""
    plain = Options.model_fields.keys() - GATEWAYS_OWN - LISTS - {"vad_parameters"}
    given: dict[str, Any] = {name: fields.text(name) for name in plain}
    given["vad_parameters"] = fields.mapping("vad_parameters")
    given["suppress_tokens"] = fields.option_list("suppress_tokens")
    if task == "translate":
        # The route says it, whatever a field says.
        given["task"] = task
    for name, alias, value in (
        ("prompt", "initial_prompt", fields.text("initial_prompt")),
        ("hotwords", "keywords", ", ".join(fields.texts("keywords"))),
    ):
        if value and not _says(fields, name):
            _check_alias(name, alias, value)
            given[name] = value
    languages = read_options({"languages": fields.option_list("languages")}).languages or []
    # Of one nothing is left to detect, unless others may be heard: it was said what to do then, or in each window.
    may_differ = given["language"] or given["on_other_language"] or given["multilingual"]
    if len(languages) == 1 and not may_differ:
        given["language"] = languages[0]
    elif languages:
        given["languages"] = languages
    if (vad := _server_vad(fields)) is not None:
        given["vad_filter"] = given["vad_filter"] or "true"
        given["vad_parameters"] = given["vad_parameters"] or vad.vad_parameters()
    if logprobs:
        given["logprobs"] = True
    return read_options({name: value for name, value in given.items() if value is not None})


def _with_words(
    options: Options, granularities: list[Granularity], *, timed: bool
) -> tuple[Options, list[Granularity], bool]:
    """Words are told where an answer with times is asked for them, in OpenAI's way or in the worker's.

    Also returns whether `word_timestamps` was sent in vain.
    """
    if not timed:
        # Words that nobody sees still help to judge what may be invented.
        is_judged = options.hallucination_silence_threshold is not None
        return options, granularities, options.word_timestamps and not is_judged
    if "word" in granularities:
        declined = "word_timestamps" in options.model_fields_set and not options.word_timestamps
        return options.model_copy(update={"word_timestamps": True}), granularities, declined
    if options.word_timestamps:
        granularities = [*(granularities or ["segment"]), "word"]
    return options, granularities, False


def _says(fields: Fields, name: str) -> bool:
    """Whether a field holds more than blanks."""
    return bool((fields.text(name) or "").strip())


def _check_alias(name: str, alias: str, value: str) -> None:
    """Refuse what is wrong with an option's value in the name under which it was sent."""
    try:
        read_options({name: value})
    except InvalidRequest as exc:
        raise InvalidRequest(exc.message.replace(name, alias, 1), param=alias) from exc


def _outdone(fields: Fields, options: Options) -> dict[str, Any]:
    """Which fields have no effect beside others, by name."""
    strategy = fields.mapping("chunking_strategy")
    is_tuned = isinstance(strategy, dict) and strategy.keys() - {"type"}
    has_no_vad, vad_parameters = options.vad_filter is False, fields.mapping("vad_parameters")
    is_outdone = has_no_vad or (is_tuned and vad_parameters)
    usual = Options()
    has_language = options.named_language is not None and not options.multilingual
    is_sampled = bool(options.temperature)
    conditions = options.condition_on_previous_text
    if conditions is None:  # the worker's default is not known here
        conditions = options.vad_filter is not True
    return {
        "initial_prompt": _says(fields, "prompt") and fields.text("initial_prompt"),
        "keywords": _says(fields, "hotwords") and fields.texts("keywords"),
        "chunking_strategy": strategy is not None and is_outdone,
        "languages": has_language and options.languages,
        "on_other_language": options.on_other_language != usual.on_other_language
        and (has_language or not options.languages),
        **{
            name: has_language and getattr(options, name) != getattr(usual, name)
            for name in ("language_detection_segments", "language_detection_threshold")
        },
        "max_initial_timestamp": options.without_timestamps
        and options.max_initial_timestamp != usual.max_initial_timestamp,
        "prompt_reset_on_temperature": not conditions
        and options.prompt_reset_on_temperature != usual.prompt_reset_on_temperature,
        "beam_size": is_sampled and options.beam_size,
        "patience": is_sampled and options.patience != usual.patience,
        "vad_parameters": has_no_vad and vad_parameters,
    }


def _server_vad(fields: Fields) -> ServerVad | None:
    name = "chunking_strategy"
    match fields.mapping(name):
        case None:
            return None
        case "auto" | "server_vad" | '"auto"' | '"server_vad"':
            return ServerVad(type="server_vad")
        case str():
            message = "chunking_strategy must be auto, server_vad or an object"
            raise InvalidRequest(message, param=name)
        case given:
            # OpenAI asks for the type, yet there is no other one, and async-openai (Rust) sends none.
            return _validated(ServerVad, {"type": "server_vad"} | given, name)


def _check_speakers(fields: Fields) -> list[str]:
    """Hold OpenAI's rules on known speakers; returns the names of those fields that were sent."""
    names = fields.texts("known_speaker_names", by_commas=False)
    references = fields.texts(REFERENCES, by_commas=False)
    if len(names) > MAX_SPEAKERS:
        message = f"At most {MAX_SPEAKERS} known speakers"
        raise InvalidRequest(message, param="known_speaker_names")
    if not all(_DATA_URL.match(reference) for reference in references):
        message = f"{REFERENCES} must be data URLs of audio in base64"
        raise InvalidRequest(message, param=REFERENCES)
    if len(names) != len(references):
        # The other half may still follow the file.
        message = f"known_speaker_names and {REFERENCES} must be of one length"
        raise MissingField(message, param=REFERENCES)
    return ["known_speaker_names", REFERENCES] if names else []


def _parsed(fields: Fields, name: str, kind: type[T], default: T) -> T:
    value = fields.text(name)
    return default if value is None else _validated(kind, value, name)


def _parsed_list(fields: Fields, name: str, kind: type[list[T]]) -> list[T]:
    # The first wrong item ends it: to word each of 100,000 takes a second.
    given = fields.texts(name, are_words=True)
    return _validated(Annotated[kind, Field(fail_fast=True)], given, name)  # type: ignore[arg-type]


def _validated(kind: type[T], value: Any, param: str) -> T:
    try:
        return TypeAdapter(kind).validate_python(value)
    except ValidationError as exc:
        raise refused(exc.errors()[0], param) from exc
