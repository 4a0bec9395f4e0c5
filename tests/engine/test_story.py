"""The story of one request, told by the real model: events, options, language, cancelling."""

import asyncio
import json
import re
import tempfile
import threading
from collections.abc import Iterator
from contextlib import aclosing
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO

import ctranslate2
import numpy as np
import pytest
from house import DATA
from worker.decoding.attempt import Attempt, Outcome
from worker.decoding.station import Station
from worker.decoding.step import Step
from worker.decoding.vocabulary import Vocabulary
from worker.engine import Engine
from worker.errors import InvalidAudio, InvalidRequest, Overloaded, RemoteError
from worker.settings import Settings
from worker.transcribe import RequestReport, Transcriber, signs
from worker.transcribe.reading import Reading
from worker.uploads import Upload
from worker.windows import Window
from worker.wire import (
    DetectedLanguage,
    Event,
    Failed,
    Finished,
    Options,
    Progress,
    Segment,
    Started,
    Transcript,
    collect,
    collect_language,
)

from tools.micro_model.model_file import read_model, write_model

ONE = "It is on the first floor."


def upload(file: str | BinaryIO, **options: Any) -> Upload:
    opened = (DATA / file).open("rb") if isinstance(file, str) else file
    return Upload(opened, 0, Options(**options))


def joined(*files: str, silence: float = 0.0) -> BinaryIO:
    """One WAV of several, with silence between them."""
    import wave

    parts = []
    for file in files:
        with wave.open(str(DATA / file)) as opened:
            assert opened.getframerate() == 16_000
            parts += [opened.readframes(opened.getnframes()), bytes(int(silence * 16_000) * 2)]
    target = tempfile.TemporaryFile()  # noqa: SIM115 (the reading closes it)
    with wave.open(target, "wb") as written:
        written.setnchannels(1)
        written.setsampwidth(2)
        written.setframerate(16_000)
        written.writeframes(b"".join(parts))
    target.seek(0)
    return target  # type: ignore[return-value]


async def collected(transcriber: Transcriber, file: str | BinaryIO, **options: Any) -> Transcript:
    async with aclosing(transcriber.transcribe("micro", upload(file, **options), "t")) as stream:
        return await collect(stream)


def answer(transcriber: Transcriber, file: str | BinaryIO, **options: Any) -> Transcript:
    return asyncio.run(collected(transcriber, file, **options))


def events(transcriber: Transcriber, file: str | BinaryIO, **options: Any) -> list[Event]:
    async def listen() -> list[Event]:
        stream = transcriber.transcribe("micro", upload(file, **options), "test")
        return [event async for event in stream]

    return asyncio.run(listen())


def language_of(transcriber: Transcriber, asked: Upload) -> DetectedLanguage:
    async def listen() -> DetectedLanguage:
        async with aclosing(transcriber.detect_language("micro", asked, "test")) as stream:
            return await collect_language(stream)

    return asyncio.run(listen())


# --- events -------------------------------------------------------------------------------------


def test_no_more_is_ever_done_than_there_is(transcriber: Transcriber) -> None:
    """9.836 s end inside a frame, of 10 ms."""
    told = events(transcriber, "short/en-3.wav", vad_filter=False)
    done = [event.audio_seconds_done for event in told if isinstance(event, Progress)]
    finished = told[-1]
    assert isinstance(finished, Finished)
    assert done == sorted(done)
    assert done[-1] == pytest.approx(finished.duration, abs=0.01)
    assert done[-1] <= finished.duration
    etas = [e.eta_seconds for e in told if isinstance(e, Progress) and e.audio_seconds_done > 0]
    assert all(eta is not None and eta >= 0 for eta in etas)
    assert etas[-1] == pytest.approx(0, abs=0.01)


def test_the_story_starts_once_and_ends_once_and_adds_up(transcriber: Transcriber) -> None:
    told = events(transcriber, "short/en-3.wav")
    assert isinstance(told[0], Started)
    assert isinstance(told[-1], Finished)
    assert {type(event) for event in told[1:-1]} == {Segment, Progress}
    segments = [event for event in told if isinstance(event, Segment)]
    assert [segment.id for segment in segments] == [0, 1, 2]
    assert [segment.text for segment in segments][:2] == [
        " Our sales team reported six new orders on Friday.",
        " The weather in Vienna is cold today.",
    ]
    last = told[-1]
    assert (last.language, last.flags) == ("en", [])
    assert last.duration == pytest.approx(9.836, abs=0.01)
    assert last.speech_seconds == pytest.approx(8.2, abs=1.0)
    for number in (last.queue_seconds, last.load_seconds, last.vad_seconds, last.rtf):
        assert number is not None
        assert number >= 0
    assert last.inference_seconds is not None
    assert last.inference_seconds > 0


@pytest.mark.parametrize("silence", [3.0, 12.0])
@pytest.mark.parametrize("without_timestamps", [True, False])
def test_times_across_silence_are_those_of_the_file(
    transcriber: Transcriber, silence: float, without_timestamps: bool
) -> None:
    file = joined("short/en-1.wav", "short/en-1.wav", silence=silence)
    options = {"word_timestamps": True, "without_timestamps": without_timestamps}
    found = answer(transcriber, file, **options)
    starts = [segment.start for segment in found.segments]
    assert found.text == f"{ONE} {ONE}"
    assert starts == pytest.approx([0.2, 2.076 + silence + 0.2], abs=0.15)
    words = [word for segment in found.segments for word in segment.words or []]
    earliest = 0.0
    for word in words:
        assert earliest <= word.start <= word.end <= found.duration
        earliest = word.end
    for segment in found.segments:
        assert segment.words
        assert segment.start <= segment.words[0].start
        assert segment.words[-1].end <= segment.end


def test_a_long_silence_ends_a_segment_without_punctuation_though_it_was_left_out(
    transcriber: Transcriber, station: Station
) -> None:
    file = joined("short/en-1.wav", "short/en-1.wav", silence=6.0)
    ends = [token for mark in ".?!" for token in station.vocabulary.encode(mark)]
    found = answer(transcriber, file, language="en", suppress_tokens=[-1, *ends])
    assert not set(".?!") & set(found.text)
    starts = [segment.start for segment in found.segments]
    assert starts == pytest.approx([0.2, 2.076 + 6.0 + 0.2], abs=0.15)
    assert found.segments[0].end < 2.2


@pytest.mark.parametrize("file", ["hard/silence-20s.wav", "hard/noise-20s.wav"])
def test_silence_never_reaches_the_model(
    transcriber: Transcriber, station: Station, file: str
) -> None:
    before = station.scheduler.speed.predicted_alone(1.0)
    found = answer(transcriber, file)
    assert (found.text, found.language, found.flags) == ("", None, ["no_speech"])
    assert found.inference_seconds == 0.0
    assert station.scheduler.speed.predicted_alone(1.0) == before


def test_a_forced_language_is_told_even_for_silence(transcriber: Transcriber) -> None:
    assert answer(transcriber, "hard/silence-20s.wav", language="de").language == "de"


def test_the_sum_of_what_is_kept_and_dropped_is_the_file(transcriber: Transcriber) -> None:
    found = answer(transcriber, "hard/40s-pause.wav")
    assert found.dropped_seconds == pytest.approx(40.2, abs=0.5)


def test_a_file_that_breaks_off_is_told_as_far_as_it_goes_and_flagged(
    transcriber: Transcriber,
) -> None:
    whole = (DATA / "formats/three.flac").read_bytes()
    half = tempfile.TemporaryFile()  # noqa: SIM115 (the reading closes it)
    half.write(whole[: len(whole) // 2])
    half.seek(0)
    found = answer(transcriber, half)
    assert found.flags == ["truncated"]
    assert found.text.startswith("Thank you very much and goodbye.")
    assert answer(transcriber, "formats/three.flac").flags == []


# --- options ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        {"beam_size": 1},
        {"temperature": 0.0},
        {"without_timestamps": False},
        {"vad_filter": False},
        {"condition_on_previous_text": True},
        {"adaptive_window": True},
        {"hotwords": "   "},
        {"multilingual": True},
        {"language_detection_segments": 3},
        {"languages": ["en", "de"]},
        {"hallucination_silence_threshold": 2.0, "word_timestamps": True},
        {"suppress_tokens": [-1, 13_000]},
        {"doubtful": "drop"},
    ],
    ids=lambda options: ",".join(options),
)
def test_every_option_leaves_a_clear_sentence_as_it_is(
    transcriber: Transcriber, options: dict[str, Any]
) -> None:
    assert answer(transcriber, "short/en-1.wav", **options).text == ONE


def test_what_is_suppressed_is_never_said(transcriber: Transcriber, station: Station) -> None:
    floor = station.vocabulary.encode(" floor")
    text = answer(transcriber, "short/en-1.wav", suppress_tokens=[-1, *floor]).text
    assert "floor" not in text


def test_a_prefix_begins_the_text(transcriber: Transcriber) -> None:
    text = answer(transcriber, "short/en-1.wav", prefix="It is").text
    assert text.startswith("It is on")


def test_tokens_carry_their_bytes_and_their_probability(transcriber: Transcriber) -> None:
    found = answer(transcriber, "short/de-3.wav", logprobs=True)
    assert found.segments
    for segment in found.segments:
        assert segment.logprobs
        data = b"".join(bytes(token.bytes) for token in segment.logprobs)
        assert data.decode() == segment.text
        assert all(token.logprob <= 0 for token in segment.logprobs)
        assert segment.words is None


def test_translation_gives_english(transcriber: Transcriber) -> None:
    found = answer(transcriber, "short/de-2.wav", task="translate")
    assert found.text.startswith("It is on the third floor.")
    assert found.language == "de"


def test_a_token_that_the_model_has_not_is_refused_by_name(transcriber: Transcriber) -> None:
    with pytest.raises(InvalidRequest) as caught:
        answer(transcriber, "short/en-1.wav", suppress_tokens=[60_000])
    assert caught.value.param == "suppress_tokens"


def test_the_token_that_ends_a_text_cannot_be_suppressed(transcriber: Transcriber) -> None:
    """Every window would be decoded to the last token it may have, at every temperature."""
    with pytest.raises(InvalidRequest, match="no text ever ends") as caught:
        answer(transcriber, "short/en-1.wav", suppress_tokens=[-1, 50_257])
    assert caught.value.param == "suppress_tokens"


def test_patience_that_leaves_no_beam_is_refused_by_name(transcriber: Transcriber) -> None:
    with pytest.raises(InvalidRequest) as caught:
        answer(transcriber, "short/en-1.wav", patience=0.3, beam_size=1)
    assert caught.value.param == "patience"
    assert answer(transcriber, "short/en-1.wav", patience=0.1, beam_size=5).text


def test_special_tokens_in_a_hint_are_text(station: Station) -> None:
    vocabulary = station.vocabulary
    ends = {"language": "en", "task": "transcribe", "prefix": "<|endoftext|>"}
    assert vocabulary.prompt(**ends).count(vocabulary.eot) == 0  # type: ignore[arg-type]
    assert all(token < vocabulary.eot for token in vocabulary.encode("<|en|> <|translate|>"))


def test_a_model_that_was_not_trained_to_translate_refuses_and_names_one_that_can(
    transcriber: Transcriber, station: Station, micro: Path, tmp_path: Path
) -> None:
    """Such have fewer layers in the decoder, whatever their folder is called."""
    model = read_model(micro / "model.bin")
    for name in [name for name in model.variables if name.startswith("decoder/layer_3/")]:
        del model.variables[name]
    for file in micro.iterdir():
        if file.name != "model.bin":
            (tmp_path / file.name).symlink_to(file)
    write_model(model, tmp_path / "model.bin")
    settings = Settings(whisper_models=["best"], whisper_device="cpu", whisper_cpu_threads=1)
    turbo = Station("best", tmp_path, settings)
    try:
        assert turbo.info.tasks == ["transcribe"]
        taken = transcriber.models.station
        transcriber.models.station = lambda name: turbo  # type: ignore[method-assign]
        with pytest.raises(InvalidRequest, match="'best' cannot translate; 'micro' can"):
            answer(transcriber, "short/de-1.wav", task="translate")
        transcriber.models.station = taken  # type: ignore[method-assign]
    finally:
        turbo.close()


def test_a_model_of_english_alone_offers_neither_translation_nor_other_languages(
    micro: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class EnglishAlone(ctranslate2.models.Whisper):  # type: ignore[misc]
        is_multilingual = False

    monkeypatch.setattr(ctranslate2.models, "Whisper", EnglishAlone)
    # Micro, which stands for it, has other tokens.
    monkeypatch.setattr(Engine, "silent_pass", lambda engine, windows=1: None)
    settings = Settings(whisper_models=["small.en"], whisper_device="cpu")
    english = Station("small.en", micro, settings)
    try:
        assert (english.info.tasks, english.info.languages) == (["transcribe"], ["en"])
    finally:
        english.close()


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


def test_doubtful_segments_are_kept_flagged_or_dropped(transcriber: Transcriber) -> None:
    strict = {"no_speech_threshold": 0.0, "log_prob_threshold": -10.0}
    flagged = answer(transcriber, "short/en-1.wav", **strict)
    kept = answer(transcriber, "short/en-1.wav", doubtful="keep", **strict)
    assert [segment.flags for segment in flagged.segments] == [["no_speech"]]
    assert (kept.text, kept.segments[0].flags) == (ONE, [])
    likely = answer(transcriber, "short/en-1.wav", doubtful="drop", **strict)
    assert (likely.text, likely.flags) == (ONE, []), "Whisper keeps it too"
    unlikely = {"temperature": 0.01, "log_prob_threshold": 0.0, "no_speech_threshold": 1.0}
    dropped = answer(transcriber, "short/en-1.wav", doubtful="drop", **unlikely)
    assert (dropped.text, dropped.flags) == ("", ["doubtful_dropped"])


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


def test_a_temperature_that_was_asked_for_is_no_doubt(
    transcriber: Transcriber, station: Station
) -> None:
    encode, windows = station.engine.encode, list[int]()

    def counted(mels: Any, known: Any) -> Any:
        windows.append(sum(one is None for one in known))
        return encode(mels, known)

    try:
        station.engine.encode = counted  # type: ignore[method-assign]
        answer(transcriber, "short/en-3.wav", temperature=0.2)
    finally:
        del station.engine.encode  # type: ignore[method-assign]
    assert sum(windows) == 1


@pytest.mark.parametrize("temperature", [1e-5, 1e-40])
def test_a_tiny_temperature_is_greedy_and_not_nonsense(
    transcriber: Transcriber, temperature: float
) -> None:
    found = answer(transcriber, "short/en-1.wav", temperature=temperature)
    assert found.text == "It is on the first floor."
    assert [segment.flags for segment in found.segments] == [[]]


def test_the_ladder_is_climbed_when_nothing_is_good_enough(transcriber: Transcriber) -> None:
    found = answer(transcriber, "short/en-1.wav", log_prob_threshold=0.0, no_speech_threshold=1.0)
    assert {segment.temperature for segment in found.segments} == {1.0}
    found = answer(
        transcriber,
        "short/en-1.wav",
        temperature=0.2,
        log_prob_threshold=0.0,
        no_speech_threshold=1.0,
    )
    assert {segment.temperature for segment in found.segments} == {0.2}


# --- languages ----------------------------------------------------------------------------------


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


@pytest.mark.parametrize(
    ("call", "following_types"),
    [("transcribe", ["segment", "finished"]), ("detect_language", ["detected"])],
)
def test_signs_of_life_come_while_a_step_runs_and_stop_when_it_hangs(
    transcriber: Transcriber,
    station: Station,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    following_types: list[str],
) -> None:
    encode, watchdog = station.engine.encode, station.scheduler.watchdog
    entered, gate = threading.Event(), threading.Event()

    def held(mels: Any, known: Any) -> Any:
        entered.set()
        assert gate.wait(60)
        return encode(mels, known)

    monkeypatch.setattr(station.engine, "encode", held)
    monkeypatch.setattr(signs, "EVERY_SECONDS", 0.01)

    async def listen() -> list[str]:
        told_by = getattr(transcriber, call)
        async with aclosing(told_by("micro", upload("short/en-1.wav"), "t")) as events:
            assert (await anext(events)).type in ("started", "progress")
            while not entered.is_set():
                assert (await anext(events)).type == "progress"
            told = [(await anext(events)).type]
            monkeypatch.setattr(watchdog, "stall_factor", 0.0)
            monkeypatch.setattr(watchdog, "stall_floor_seconds", 0.0)
            following = asyncio.ensure_future(anext(events))
            told += ["silence"] if not (await asyncio.wait({following}, timeout=0.5))[0] else []
            gate.set()
            rest = [await following, *[event async for event in events]]
            return [*told, *(event.type for event in rest if not isinstance(event, Progress))]

    assert asyncio.run(listen()) == ["progress", "silence", *following_types]


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


@pytest.mark.parametrize(
    "strategy",
    [{}, {"multilingual": True}, {"condition_on_previous_text": True}, {"vad_filter": False}],
    ids=lambda strategy: next(iter(strategy), "default"),
)
@pytest.mark.parametrize("file", ["long/en-90s.flac", "long/es-90s.flac"])
def test_of_dense_speech_no_sentence_is_lost_or_doubled(
    transcriber: Transcriber, file: str, strategy: dict[str, Any]
) -> None:
    [truth] = [
        entry for entry in json.loads((DATA / "truth.json").read_text()) if entry["file"] == file
    ]
    sentences = truth["sentences"]
    segments = answer(transcriber, file, **strategy).segments
    for sentence in sentences:
        inside = [s for s in segments if s.start < sentence["end"] and s.end > sentence["start"]]
        heard = sum(min(s.end, sentence["end"]) - max(s.start, sentence["start"]) for s in inside)
        assert heard > 0.8 * (sentence["end"] - sentence["start"]), sentence
    for before, after in pairwise(segments):
        assert before.end <= after.start
    words = sum(len(sentence["text"].split()) for sentence in sentences)
    heard_words = sum(len(segment.text.split()) for segment in segments)
    assert heard_words == pytest.approx(words, rel=0.05)
    last = sentences[-1]
    assert abs(segments[-1].end - last["end"]) < 0.5
    # The first word and not the last: to count eight digits is the model's to get right.
    assert segments[-1].text.split()[0] == last["text"].split()[0]


# --- admission and leaving ----------------------------------------------------------------------


def test_a_deadline_that_cannot_be_met_is_refused_before_the_work(
    transcriber: Transcriber,
) -> None:
    with pytest.raises(Overloaded, match="deadline"):
        answer(transcriber, "long/en-90s.flac", deadline=1e-6)


def test_many_at_once_get_each_their_own_text(transcriber: Transcriber) -> None:
    texts = {
        "short/en-1.wav": ONE,
        "short/de-1.wav": "Schalte das Radio an, dort ist das Restaurant.",
        "short/de-2.wav": "Es ist im dritten Stock. Das Wetter in Berlin ist heute warm.",
        "short/es-1.wav": "Mis colores favoritos son rojo y azul.",
    }

    async def ask(file: str) -> tuple[str, str]:
        return file, (await collected(transcriber, file)).text

    async def everybody() -> list[tuple[str, str]]:
        return list(await asyncio.gather(*(ask(file) for file in [*texts] * 6)))

    for file, text in asyncio.run(everybody()):
        assert text == texts[file]


def test_each_request_that_ends_well_is_reported(transcriber: Transcriber) -> None:
    reports: list[RequestReport] = []
    transcriber.hooks.append(reports.append)
    answer(transcriber, "short/en-1.wav", no_speech_threshold=0.0, log_prob_threshold=-10.0)
    transcriber.hooks.clear()
    [report] = reports
    assert (report.model, report.segments, dict(report.doubts)) == ("micro", 1, {"no_speech": 1})


def test_the_log_says_where_in_the_file_a_window_lies_that_fails(
    transcriber: Transcriber,
    station: Station,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    encode, failures = station.engine.encode, [ValueError("a bad window")]

    def refuse_once(*told: Any) -> Any:
        if failures:
            raise failures.pop()
        return encode(*told)

    monkeypatch.setattr(station.engine, "encode", refuse_once)
    with pytest.raises(RemoteError):
        answer(transcriber, joined("hard/silence-20s.wav", "short/en-1.wav"))
    [failure] = [record for record in caplog.records if record.name == "worker.scheduler.executor"]
    assert re.fullmatch(r"t, (19|20)\.\d to 2[12]\.\d s failed", failure.getMessage())


@pytest.mark.parametrize("call", ["encode", "generate", "align"])
def test_a_window_that_fails_is_told_and_harms_nobody_else(
    transcriber: Transcriber, station: Station, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    """A call of the engine fails with one window, and with the batch that it is in."""
    encode, works = station.engine.encode, getattr(station.engine, call)
    poison: list[Any] = []
    poisoned_batches: list[int] = []
    running = threading.local()
    entered, gate = threading.Semaphore(0), threading.Event()

    def watched(mels: Any, known: Any) -> Any:
        if not poison:
            poison.extend(mels)
        running.is_poisoned = any(np.array_equal(mel, poison[0]) for mel in mels)
        if running.is_poisoned:
            poisoned_batches.append(len(mels))
        return encode(mels, known)

    def held(mels: Any, known: Any) -> Any:
        entered.release()
        assert gate.wait(60)
        return refuse(mels, known) if call == "encode" else watched(mels, known)

    def refuse(*args: Any, **options: Any) -> Any:
        if call == "encode":
            watched(*args)
        if running.is_poisoned:
            raise ValueError("a bad window")
        return works(*args, **options)

    async def ask(file: str) -> tuple[str, str]:
        told = transcriber.transcribe("micro", upload(file, language="de"), file)
        events = [event async for event in told]
        texts = [event.text for event in events if isinstance(event, Segment)]
        last = events[-1]
        end = f"{last.status} {last.code}" if isinstance(last, Failed) else last.type
        return end, "".join(texts)

    async def everybody() -> list[tuple[str, str]]:
        """All threads are busy until the bad window and another one wait for the next batch."""
        busy = list[asyncio.Future[tuple[str, str]]]()
        for _ in range(station.engine.workers):
            busy.append(asyncio.ensure_future(ask("short/de-2.wav")))
            assert await asyncio.to_thread(entered.acquire, timeout=60)
        others = [asyncio.ensure_future(ask(f"short/de-{n}.wav")) for n in (1, 3)]
        while len(station.scheduler._queue) < len(others):  # noqa: ASYNC110 (it tells nobody)
            await asyncio.sleep(0.01)
        gate.set()
        return list(await asyncio.gather(*busy, *others))

    monkeypatch.setattr(station.engine, "encode", watched)
    alone = [asyncio.run(ask(f"short/de-{n}.wav")) for n in (1, 2, 3)]
    poisoned_batches.clear()
    monkeypatch.setattr(station.engine, call, refuse)
    monkeypatch.setattr(station.engine, "encode", held)
    *busy, bad, other = asyncio.run(everybody())
    assert (bad, other) == (("500 internal_error", ""), alone[2])
    assert busy == [alone[1]] * station.engine.workers
    assert poisoned_batches[0] == 2
    assert [end for end, _ in alone] == ["finished"] * 3
