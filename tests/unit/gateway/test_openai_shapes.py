"""OpenAI's shapes, literally: what each format and each event is made of."""

from typing import Any

import pytest
from gateway.errors import error_object
from gateway.formats import openai as shapes
from gateway.wire import Failed, Progress, Segment, Started, TokenLogprob, Transcript, Word

SEGMENT = Segment(
    id=0,
    seek=0,
    start=0.2,
    end=2.4,
    text=" Good morning.",
    tokens=[50364, 2205, 2446, 13, 50474],
    temperature=0.0,
    avg_logprob=-0.25,
    compression_ratio=0.9,
    no_speech_prob=0.01,
    words=[
        Word(word=" Good", start=0.2, end=1.0, probability=0.9),
        Word(word=" morning.", start=1.0, end=2.4, probability=0.8),
    ],
    logprobs=[TokenLogprob(token=" Good", bytes=[32, 71, 111, 111, 100], logprob=-0.1)],
)
AGAIN = SEGMENT.model_copy(update={"id": 1, "text": " And you?", "words": [], "logprobs": []})
TRANSCRIPT = Transcript(
    language="en",
    language_probability=0.98,
    duration=4.2,
    speech_seconds=3.9,
    flags=["truncated"],
    text="unused",
    segments=[SEGMENT, AGAIN],
)
SILENCE = Transcript(language=None, duration=10.0, text="", segments=[])


def verbose(*granularities: Any, transcript: Transcript = TRANSCRIPT) -> dict[str, Any]:
    return shapes.verbose(transcript, task="transcribe", granularities=granularities)


def test_json_is_the_text_the_languages_and_the_usage() -> None:
    assert shapes.transcription(TRANSCRIPT, logprobs=False) == {
        "text": "Good morning. And you?",
        "languages": [{"code": "en"}],
        "flags": ["truncated"],
        "usage": {"type": "duration", "seconds": 5},
    }


def test_json_has_the_tokens_when_they_are_asked_for() -> None:
    assert shapes.transcription(TRANSCRIPT, logprobs=True)["logprobs"] == [
        {"token": " Good", "bytes": [32, 71, 111, 111, 100], "logprob": -0.1}
    ]


def test_verbose_json_names_the_language_and_has_ten_fields_a_segment() -> None:
    answer = verbose("segment")
    assert answer["segments"][0] == {
        "id": 0,
        "seek": 0,
        "start": 0.2,
        "end": 2.4,
        "text": " Good morning.",
        "tokens": [50364, 2205, 2446, 13, 50474],
        "temperature": 0.0,
        "avg_logprob": -0.25,
        "compression_ratio": 0.9,
        "no_speech_prob": 0.01,
    }
    del answer["segments"]
    assert answer == {
        "task": "transcribe",
        "language": "english",
        "duration": 4.2,
        "text": "Good morning. And you?",
        "language_probability": 0.98,
        "speech_seconds": 3.9,
        "flags": ["truncated"],
        "usage": {"type": "duration", "seconds": 5},
    }


def test_words_stand_beside_the_segments_without_their_space() -> None:
    assert verbose("word")["words"] == [
        {"word": "Good", "start": 0.2, "end": 1.0, "probability": 0.9},
        {"word": "morning.", "start": 1.0, "end": 2.4, "probability": 0.8},
    ]
    assert "segments" not in verbose("word")
    assert {"words", "segments"} <= verbose("word", "segment").keys()


def test_silence_is_an_empty_text_in_no_language() -> None:
    answer = verbose("segment", "word", transcript=SILENCE)
    assert (answer["text"], answer["language"]) == ("", "")
    assert (answer["segments"], answer["words"]) == ([], [])
    assert shapes.transcription(SILENCE, logprobs=False)["languages"] == []


def test_a_translation_is_english_whatever_was_spoken() -> None:
    german = TRANSCRIPT.model_copy(update={"language": "de"})
    answer = shapes.verbose(german, task="translate", granularities=["segment"])
    assert (answer["task"], answer["language"]) == ("translate", "english")


def test_deltas_add_up_to_the_text_of_done() -> None:
    deltas = [shapes.delta_event(segment, logprobs=False) for segment in TRANSCRIPT.segments]
    assert deltas == [
        {"type": "transcript.text.delta", "delta": " Good morning."},
        {"type": "transcript.text.delta", "delta": " And you?"},
    ]
    assert shapes.done_event(TRANSCRIPT, logprobs=False) == {
        "type": "transcript.text.done",
        "text": "Good morning. And you?",
        "languages": [{"code": "en"}],
        "flags": ["truncated"],
        "usage": {
            "type": "tokens",
            "input_tokens": 210,
            "input_token_details": {"audio_tokens": 210, "text_tokens": 0},
            "output_tokens": 10,
            "total_tokens": 220,
        },
    }


def test_a_delta_carries_its_own_tokens_and_done_all_of_them() -> None:
    tokens = [{"token": " Good", "bytes": [32, 71, 111, 111, 100], "logprob": -0.1}]
    assert shapes.delta_event(SEGMENT, logprobs=True)["logprobs"] == tokens
    assert shapes.done_event(TRANSCRIPT, logprobs=True)["logprobs"] == tokens


def test_a_segment_event_has_times_and_words_where_asked() -> None:
    assert shapes.segment_event(SEGMENT, words=False) == {
        "type": "transcript.text.segment",
        "id": "seg_0",
        "start": 0.2,
        "end": 2.4,
        "text": " Good morning.",
        "speaker": "",
    }
    assert len(shapes.segment_event(SEGMENT, words=True)["words"]) == 2


def test_progress_has_a_type_of_its_own() -> None:
    started = Started(request_id="r", model="m", queue_position=3, predicted_start_seconds=1.5)
    assert shapes.progress_event(started) == {
        "type": "transcript.progress",
        "stage": "queued",
        "queue_position": 3,
        "predicted_start_seconds": 1.5,
    }
    progress = Progress(stage="transcribing", audio_seconds_done=2.0, audio_seconds_total=4.0)
    assert shapes.progress_event(progress) == {
        "type": "transcript.progress",
        "stage": "transcribing",
        "audio_seconds_done": 2.0,
        "audio_seconds_total": 4.0,
        "eta_seconds": None,
    }


@pytest.mark.parametrize(
    ("status", "kind"), [(500, "server_error"), (413, "invalid_request_error")]
)
def test_a_late_failure_has_the_type_of_its_status(status: int, kind: str) -> None:
    failed = Failed(status=status, code="c", message="m", param=None)
    assert error_object(failed.error) == {
        "message": "m",
        "type": kind,
        "param": None,
        "code": "c",
    }
