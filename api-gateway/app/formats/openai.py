"""OpenAI's shapes of a transcript, as its SDKs check them.

Source: openai/openai-openapi, CreateTranscriptionResponse*, TranscriptText*Event. Keys beyond the
schema (`language_probability`, `flags` ...) survive in the SDKs; `usage` and `error` stay closed.
"""

import math
from collections.abc import Collection, Iterable
from typing import Any, Literal

from ..languages import LANGUAGES
from ..wire import (
    ModelInfo,
    Progress,
    Segment,
    Started,
    Transcript,
    Word,
    joined,
)

ENCODER_POSITIONS_PER_SECOND = 50
"""What Whisper's decoder attends to: the nearest thing to OpenAI's audio tokens."""

Granularity = Literal["word", "segment"]


def transcription(transcript: Transcript, *, logprobs: bool) -> dict[str, Any]:
    """`json`: text, languages heard, how long it was, tokens when asked for, and doubts where there are any."""
    usage = _usage_by_duration(transcript.duration)
    return _said(transcript, logprobs=logprobs) | {"usage": usage}


def verbose(
    transcript: Transcript,
    *,
    task: Literal["transcribe", "translate"],
    granularities: Collection[Granularity],
) -> dict[str, Any]:
    """`verbose_json`: the language by its English name, `segments` and `words` where asked for."""
    language = "en" if task == "translate" else transcript.language
    answer: dict[str, Any] = {
        "task": task,
        "language": LANGUAGES.get(language, language) if language else "",
        "duration": transcript.duration,
        "text": joined(transcript.segments),
    }
    if "segment" in granularities:
        answer["segments"] = [_segment(segment) for segment in transcript.segments]
    if "word" in granularities:
        answer["words"] = [
            _word(word) for segment in transcript.segments for word in segment.words or []
        ]
    extras = transcript.model_dump(
        include={"language_probability", "speech_seconds", "dropped_seconds", "flags"},
        exclude_none=True,
    )
    return answer | extras | {"usage": _usage_by_duration(transcript.duration)}


def model_object(name: str, info: ModelInfo, *, created: int) -> dict[str, Any]:
    """A model under its public name, with what it can do; `created` is in Unix seconds."""
    return {
        **info.model_dump(),
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "local",
        "model": info.id,
        "streaming": True,
    }


def token_logprobs(segments: Iterable[Segment]) -> list[dict[str, Any]]:
    """The tokens of the text with their bytes and log-probabilities, as one flat list."""
    return [token.model_dump() for segment in segments for token in segment.logprobs or []]


def delta_event(segment: Segment, *, logprobs: bool) -> dict[str, Any]:
    """The text of one more final segment, with the space before it."""
    event: dict[str, Any] = {"type": "transcript.text.delta", "delta": segment.text}
    if logprobs:
        event["logprobs"] = token_logprobs([segment])
    return event


def segment_event(segment: Segment, *, words: bool) -> dict[str, Any]:
    """When and what, beside the delta. No speaker is known, and the schema wants a string."""
    event: dict[str, Any] = {
        "type": "transcript.text.segment",
        "id": f"seg_{segment.id}",
        "start": segment.start,
        "end": segment.end,
        "text": segment.text,
        "speaker": "",
    }
    if segment.flags:
        event["flags"] = segment.flags
    return event | ({"words": [_word(word) for word in segment.words or []]} if words else {})


def done_event(transcript: Transcript, *, logprobs: bool) -> dict[str, Any]:
    """The whole text once more; `usage` must be counted in tokens here."""
    said = {"type": "transcript.text.done"} | _said(transcript, logprobs=logprobs)
    return said | {"usage": _usage_by_tokens(transcript)}


def progress_event(event: Started | Progress) -> dict[str, Any]:
    """Our extension `progress=true`: how far the work is, in an event of its own type."""
    match event:
        case Started():
            return {
                "type": "transcript.progress",
                "stage": "queued",
                "queue_position": event.queue_position,
                "predicted_start_seconds": event.predicted_start_seconds,
            }
        case Progress():
            return {**event.model_dump(), "type": "transcript.progress"}


def _said(transcript: Transcript, *, logprobs: bool) -> dict[str, Any]:
    said: dict[str, Any] = {
        "text": joined(transcript.segments),
        "languages": _languages(transcript.language),
    }
    if logprobs:
        said["logprobs"] = token_logprobs(transcript.segments)
    if transcript.flags:
        said["flags"] = transcript.flags
    return said


def _languages(language: str | None) -> list[dict[str, str]]:
    return [{"code": language}] if language else []


def _segment(segment: Segment) -> dict[str, Any]:
    left_out = {"type", "words", "logprobs"} | ({"flags"} if not segment.flags else set())
    return segment.model_dump(exclude=left_out, exclude_none=True)


def _word(word: Word) -> dict[str, Any]:
    return word.model_dump() | {"word": word.word.strip()}


def _usage_by_duration(duration: float) -> dict[str, Any]:
    return {"type": "duration", "seconds": math.ceil(duration)}


def _usage_by_tokens(transcript: Transcript) -> dict[str, Any]:
    audio = math.ceil(transcript.duration * ENCODER_POSITIONS_PER_SECOND)
    text = sum(len(segment.tokens) for segment in transcript.segments)
    return {
        "type": "tokens",
        "input_tokens": audio,
        "input_token_details": {"audio_tokens": audio, "text_tokens": 0},
        "output_tokens": text,
        "total_tokens": audio + text,
    }
