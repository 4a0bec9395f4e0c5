"""What a request may ask of decoding, on the real model: each option, refusals by name, doubt."""

from pathlib import Path
from typing import Any

import ctranslate2
import pytest
from asking import ONE, answer
from worker.decoding.station import Station
from worker.engine import Engine
from worker.errors import InvalidRequest
from worker.settings import Settings
from worker.transcribe import Transcriber

from tools.micro_model.model_file import read_model, write_model


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
