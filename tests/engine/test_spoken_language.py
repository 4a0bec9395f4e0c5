"""Which language is spoken: in each window, in a file, and what a request expects."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pytest
from asking import ONE, answer, events, joined, language_of, upload
from worker.audio import Samples
from worker.decoding.attempt import Attempt, Outcome
from worker.decoding.station import Station
from worker.decoding.step import Step
from worker.decoding.vocabulary import Vocabulary
from worker.errors import InvalidAudio, InvalidRequest, RemoteError
from worker.transcribe import Transcriber, signs
from worker.transcribe.ballot import Ballot
from worker.transcribe.reading import Reading
from worker.vad import Span
from worker.windows import Window
from worker.wire import Event, Failed, Options, Segment


def test_several_languages_are_heard_window_by_window(transcriber: Transcriber) -> None:
    file = joined("short/en-1.wav", "short/de-1.wav", silence=15.0)
    found = answer(transcriber, file, multilingual=True)
    assert found.text == f"{ONE} Schalte das Radio an, dort ist das Restaurant."


def test_with_several_languages_the_first_one_heard_is_told_whichever_was_given(
    transcriber: Transcriber,
) -> None:
    found = answer(transcriber, "short/en-1.wav", language="de", multilingual=True)
    assert (found.text, found.language) == (ONE, "en")
    assert found.language_probability is not None
    assert found.language_probability > 0.5
    silent = answer(transcriber, "hard/silence-20s.wav", language="de", multilingual=True)
    assert (silent.language, silent.language_probability) == ("de", None)


@pytest.mark.parametrize(
    "strategy", [{}, {"condition_on_previous_text": True}, {"vad_filter": False}]
)
def test_each_window_is_in_one_of_the_languages_expected_or_flagged_or_refused(
    transcriber: Transcriber, strategy: dict[str, Any]
) -> None:
    options = {"multilingual": True, "languages": ["en", "fr"], **strategy}

    def both() -> BinaryIO:
        return joined("short/en-1.wav", "short/de-1.wav", silence=30.0)

    german = "Schalte das Radio an, dort ist das Restaurant."
    allowed = answer(transcriber, both(), on_other_language="allow", **options)
    assert allowed.text == f"{ONE} {german}"
    assert (allowed.language, allowed.flags) == ("en", ["other_language"])
    nearest = answer(transcriber, both(), **options)
    assert (nearest.language, nearest.flags) == ("en", [])
    refused = events(transcriber, both(), on_other_language="reject", **options)
    assert [event.text for event in refused if isinstance(event, Segment)] == [f" {ONE}"]
    last = refused[-1]
    assert isinstance(last, Failed)
    assert (last.status, last.code, last.param) == (400, "invalid_value", "languages")
    assert last.message == "The audio is in 'de', not in one of: en, fr"


def test_a_window_is_decoded_in_the_likeliest_language_expected(
    transcriber: Transcriber, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate, prompts = station.engine.generate, list[list[int]]()

    def noted(encoded: Any, asked: list[list[int]], **options: Any) -> list[Any]:
        prompts.extend(asked)
        return generate(encoded, asked, **options)

    monkeypatch.setattr(station.engine, "generate", noted)
    found = answer(transcriber, "short/de-1.wav", multilingual=True, languages=["fr", "es"])
    told = found.language
    assert told in ("fr", "es")
    assert {prompt[1] for prompt in prompts} == {station.vocabulary.start(told, "transcribe")[1]}


def test_a_language_that_is_not_expected_is_refused_or_replaced(transcriber: Transcriber) -> None:
    expected = {"languages": ["fr", "es"]}
    with pytest.raises(RemoteError, match="'de'") as caught:
        answer(transcriber, "short/de-1.wav", on_other_language="reject", **expected)
    assert (caught.value.status, caught.value.param) == (400, "languages")
    allowed = answer(transcriber, "short/de-1.wav", on_other_language="allow", **expected)
    assert (allowed.language, allowed.flags) == ("de", ["other_language"])
    assert answer(transcriber, "short/de-1.wav", **expected).language in ("fr", "es")


def test_a_language_of_which_the_model_is_not_sure_is_flagged(transcriber: Transcriber) -> None:
    clear = answer(transcriber, "short/de-1.wav")
    assert clear.language_probability is not None
    assert clear.flags == []
    unsure = answer(transcriber, "short/de-1.wav", language_detection_threshold=1.0)
    assert (unsure.text, unsure.flags) == (clear.text, ["language_uncertain"])
    forced = answer(transcriber, "short/de-1.wav", language="de", language_detection_threshold=1.0)
    assert forced.flags == []


@pytest.fixture
def english_only(station: Station, micro: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the model pass for one that knows English only."""
    vocabulary = Vocabulary(micro, multilingual=False)
    monkeypatch.setattr(station, "vocabulary", vocabulary)
    monkeypatch.setattr(station, "step", Step(station.engine, vocabulary))


@pytest.mark.usefixtures("english_only")
def test_english_from_a_model_that_knows_nothing_else_is_flagged_where_it_was_not_expected(
    transcriber: Transcriber,
) -> None:
    other = {"languages": ["de"], "on_other_language": "allow"}
    found = answer(transcriber, "short/en-1.wav", **other)
    assert (found.language, found.flags) == ("en", ["other_language"])
    assert answer(transcriber, "hard/silence-20s.wav", **other).flags == ["no_speech"]


@pytest.mark.parametrize(
    "strategy", [{}, {"condition_on_previous_text": True}, {"vad_filter": False}]
)
def test_doubtful_text_in_another_language_is_flagged(
    transcriber: Transcriber, strategy: dict[str, Any]
) -> None:
    file = joined("short/en-1.wav", "short/de-2.wav", silence=30.0)
    found = answer(transcriber, file, log_prob_threshold=0.0, no_speech_threshold=1.0, **strategy)
    switched = ["language_switch" in segment.flags for segment in found.segments]
    assert found.language == "en"
    assert not switched[0]
    assert switched[-1]


def test_a_first_window_in_none_of_the_languages_expected_has_switched_if_it_is_doubtful(
    transcriber: Transcriber,
) -> None:
    """Its language is heard in the step that decodes it, in the likeliest of those."""
    doubtful = {"log_prob_threshold": 0.0, "no_speech_threshold": 1.0}
    found = answer(transcriber, "short/en-1.wav", languages=["de", "fr"], **doubtful)
    assert found.language in ("de", "fr")
    assert "language_switch" in found.segments[0].flags
    right = answer(transcriber, "short/de-1.wav", languages=["de", "fr"], **doubtful)
    assert not any("language_switch" in segment.flags for segment in right.segments)


def test_the_language_of_a_file_is_told_with_all_probabilities(transcriber: Transcriber) -> None:
    found = language_of(transcriber, upload("short/fr-2.wav"))
    assert found.language == "fr"
    assert found.language_probability is not None
    assert found.language_probability > 0.9
    assert sum(found.probabilities.values()) == pytest.approx(1.0, abs=0.01)
    assert next(iter(found.probabilities)) == "fr"


@pytest.mark.parametrize("strategy", [{}, {"vad_filter": False}])
def test_the_majority_of_the_windows_has_the_language_where_none_is_clear(
    transcriber: Transcriber, strategy: dict[str, Any]
) -> None:
    """None is clearer than 1, and the three of the file are fewer than may vote."""

    def file() -> BinaryIO:  # each sentence lies in a whole window of its own
        return joined("short/en-2.wav", "short/de-2.wav", "short/de-2.wav", silence=24.2)

    options = {"language_detection_threshold": 1.0, "language_detection_segments": 5, **strategy}
    found = language_of(transcriber, upload(file(), **options))
    assert found.language == "de"
    assert found.probabilities["de"] == pytest.approx(2 / 3, abs=0.01)
    assert found.probabilities["en"] == pytest.approx(1 / 3, abs=0.01)
    assert language_of(transcriber, upload(file(), **strategy)).language == "en"


@pytest.mark.parametrize("asked", [{}, {"languages": ["de", "fr"]}], ids=["any", "of two"])
@pytest.mark.parametrize(
    "strategy", [{}, {"condition_on_previous_text": True}, {"vad_filter": False}]
)
def test_a_short_clip_is_heard_and_decoded_in_one_step_so_that_it_waits_for_one_batch(
    transcriber: Transcriber,
    station: Station,
    monkeypatch: pytest.MonkeyPatch,
    strategy: dict[str, Any],
    asked: dict[str, Any],
) -> None:
    kinds = list[str]()

    def noted(step: Step, batch: list[Attempt]) -> list[Outcome]:
        kinds.extend(attempt.recipe.kind for attempt in batch)
        return run(step, batch)

    run = Step._run
    monkeypatch.setattr(Step, "_run", noted)
    found = answer(transcriber, "short/de-1.wav", **strategy, **asked)
    assert found.language == "de"
    assert set(kinds) == {"decode"}


@pytest.mark.parametrize("strategy", [{}, {"condition_on_previous_text": True}])
def test_a_greeting_before_a_long_silence_does_not_decide_for_the_whole_file(
    transcriber: Transcriber,
    station: Station,
    monkeypatch: pytest.MonkeyPatch,
    strategy: dict[str, Any],
) -> None:
    """It is heard together with what comes next, as faster-whisper hears the first 30 s of speech."""
    encode, frames = station.engine.encode, list[int]()

    def noted(mels: Any, known: Any) -> Any:
        frames.extend(round(float((mel > mel.min()).any(0).sum())) for mel in mels)
        return encode(mels, known)

    def file() -> BinaryIO:
        return joined("short/en-1.wav", "short/de-3.wav", silence=15.0)

    monkeypatch.setattr(station.engine, "encode", noted)
    found = answer(transcriber, file(), **strategy)
    assert found.language == "de"
    assert language_of(transcriber, upload(file())).language == "de"
    together, *windows, again = frames
    assert together == again > max(windows)


def test_windows_that_vote_together_are_heard_for_30_seconds_at_most() -> None:
    def window(seconds: int) -> Window:
        piece = Span(0, seconds * 16_000)
        return Window(np.zeros(piece.length, np.float32), (piece,), (Span(0, 16_000),))

    ballot = Ballot([window(19)])
    assert not ballot.is_enough
    ballot.windows.append(window(30))
    assert ballot.is_enough, "no more would be heard"
    assert ballot.sound.frames == 3000


@pytest.mark.parametrize(
    ("segments", "votes"), [(2, 2), (5, 3)], ids=["two of three windows", "all, and no more"]
)
@pytest.mark.parametrize(
    "strategy", [{}, {"condition_on_previous_text": True}, {"vad_filter": False}]
)
def test_windows_that_vote_for_the_language_are_told_as_by_default(
    transcriber: Transcriber,
    station: Station,
    monkeypatch: pytest.MonkeyPatch,
    strategy: dict[str, Any],
    segments: int,
    votes: int,
) -> None:
    detect, heard = station.engine.detect_language, list[Any]()

    def noted(encoded: Any) -> Any:
        heard.extend(found := detect(encoded))
        return found

    monkeypatch.setattr(station.engine, "detect_language", noted)
    file = joined(*["short/de-2.wav"] * 3, silence=18.0)
    options = {"language_detection_threshold": 1.0, "language_detection_segments": segments}
    found = answer(transcriber, file, **options, **strategy)
    floor = "Es ist im dritten Stock. Das Wetter in Berlin ist heute warm."
    assert (found.text, found.language) == (f"{floor} {floor} {floor}", "de")
    assert len(heard) == votes


def test_silence_has_no_language(transcriber: Transcriber) -> None:
    silence = upload("hard/silence-20s.wav")
    found = language_of(transcriber, silence)
    assert (found.language, found.probabilities) == (None, {})


@pytest.mark.usefixtures("english_only")
def test_a_model_that_knows_nothing_else_hears_english_where_somebody_speaks(
    transcriber: Transcriber,
) -> None:
    speech, silence = upload("short/de-1.wav"), upload("hard/silence-20s.wav")
    found = language_of(transcriber, speech)
    assert (found.language, found.language_probability) == ("en", 1.0)
    assert found.probabilities == {"en": 1.0}
    found = language_of(transcriber, silence)
    assert (found.language, found.probabilities) == (None, {})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("language", "en"),
        ("task", "translate"),
        ("prompt", "Vienna"),
        ("temperature", 0.2),
        ("beam_size", 1),
        ("word_timestamps", True),
        ("condition_on_previous_text", False),
        ("multilingual", True),
        ("doubtful", "drop"),
    ],
)
def test_what_means_nothing_without_a_text_is_refused_by_name(
    transcriber: Transcriber, name: str, value: Any
) -> None:
    asked = upload("short/en-1.wav", **{name: value})
    with pytest.raises(InvalidRequest, match="means nothing where only the language") as caught:
        language_of(transcriber, asked)
    assert (caught.value.status, caught.value.param) == (400, name)


@pytest.mark.parametrize(
    "options",
    [
        Options().model_dump(),
        {
            "languages": ["en", "fr"],
            "on_other_language": "reject",
            "language_detection_threshold": 0.2,
            "language_detection_segments": 2,
            "vad_filter": True,
            "vad_parameters": {"threshold": 0.4},
            "adaptive_window": True,
            "deadline": 3600.0,
            "tenant": "somebody",
            "priority": "bulk",
        },
    ],
    ids=["defaults", "all that is read"],
)
def test_what_the_language_depends_on_is_taken(
    transcriber: Transcriber, options: dict[str, Any]
) -> None:
    asked = upload("short/en-1.wav", **options)
    assert language_of(transcriber, asked).language == "en"


def test_what_the_vad_would_drop_has_a_language_where_the_vad_is_not_wanted(
    transcriber: Transcriber,
) -> None:
    silence = upload("hard/silence-20s.wav", vad_filter=False)
    found = language_of(transcriber, silence)
    assert found.language is not None


@pytest.mark.parametrize("strategy", [{}, {"condition_on_previous_text": True}])
@pytest.mark.parametrize("file", ["long/en-90s.flac", "short/en-1.wav"])
def test_what_was_heard_before_a_file_broke_is_told(
    transcriber: Transcriber,
    monkeypatch: pytest.MonkeyPatch,
    file: str,
    strategy: dict[str, Any],
) -> None:
    """Also when it was too little to be sure of its language."""
    whole = Reading.windows

    def broken(reading: Reading, parameters: Any) -> Iterator[Window]:
        yield next(whole(reading, parameters))
        raise InvalidAudio("the rest cannot be read")

    monkeypatch.setattr(Reading, "windows", broken)
    told = events(transcriber, file, **strategy)
    assert any(isinstance(event, Segment) for event in told)
    last = told[-1]
    assert isinstance(last, Failed)
    assert (last.status, last.message) == (400, "the rest cannot be read")


@pytest.mark.parametrize("strategy", [{}, {"vad_filter": False}])
def test_a_file_that_breaks_off_before_anything_is_heard_is_not_taken_for_silence(
    transcriber: Transcriber, monkeypatch: pytest.MonkeyPatch, strategy: dict[str, Any]
) -> None:
    def broken(reading: Reading) -> Iterator[Samples]:
        yield from ()
        raise InvalidAudio("it cannot be read")

    monkeypatch.setattr(Reading, "blocks", broken)
    with pytest.raises(InvalidAudio, match="it cannot be read"):
        language_of(transcriber, upload("short/en-1.wav", **strategy))


def test_a_detection_that_fails_behind_its_first_sign_of_life_says_why(
    transcriber: Transcriber, station: Station, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = threading.Event()

    def refuse(*args: Any) -> Any:
        assert gate.wait(60)
        raise ValueError("a bad window")

    monkeypatch.setattr(station.engine, "encode", refuse)
    monkeypatch.setattr(signs, "EVERY_SECONDS", 0.01)

    async def listen() -> list[Event]:
        stream = transcriber.detect_language("micro", upload("short/en-1.wav"), "t")
        async with aclosing(stream) as events:
            first = await anext(events)
            gate.set()
            return [first, *[event async for event in events]]

    told = asyncio.run(listen())
    last = told[-1]
    assert {event.type for event in told[:-1]} == {"progress"}
    assert isinstance(last, Failed)
    assert (last.status, last.code) == (500, "internal_error")
