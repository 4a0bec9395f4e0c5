"""OpenAI's own Python SDK against the real gateway and worker: requests and answers.

The numbers in a name are lines of the list in docs/conformance.md.
"""

import asyncio
import threading
from pathlib import Path
from typing import Any

import openai
import pysubs2
import pytest
import webvtt
from house import CLIP, DATA
from openai_sdk import Sdk
from running import KEY, Running, serve_gateway

DE1 = DATA / "short/de-1.wav"
DE2 = DATA / "short/de-2.wav"
SILENCE = DATA / "hard/silence-20s.wav"
TEXT1 = "It is on the first floor."
TEXT2 = "Es ist im dritten Stock. Das Wetter in Berlin ist heute warm."
SPEAKER = "data:audio/wav;base64," + "A" * 2_000_000


def verbose(sdk: Sdk, file: Path = DE2, **asked: Any) -> Any:
    return sdk.transcribe(file=file, model="micro", response_format="verbose_json", **asked)


def test_01_an_opened_file_gives_its_text(both: Sdk) -> None:
    with CLIP.open("rb") as file:
        answer = both.transcribe(file=file, model="micro")
    assert type(answer).__name__ == "Transcription"
    assert answer.text == TEXT1


def test_02_bytes_without_a_name_give_the_same_text(both: Sdk) -> None:
    assert both.transcribe(file=CLIP.read_bytes(), model="micro").text == TEXT1


def test_03_a_name_may_have_any_letters_and_quotes(sdk: Sdk) -> None:
    file = ('Ge"spräch/5.wav', CLIP.read_bytes(), "audio/wav")
    assert sdk.transcribe(file=file, model="micro").text == TEXT1


def test_04_a_path_is_a_file(both: Sdk) -> None:
    assert both.transcribe(file=CLIP, model="micro").text == TEXT1


def test_11_the_language_is_honoured(sdk: Sdk) -> None:
    assert verbose(sdk, CLIP, language="de").language == "german"


def test_12_empty_fields_are_absent(sdk: Sdk) -> None:
    assert verbose(sdk, DE1, language="", prompt="").language == "german"


@pytest.mark.parametrize("temperature", [0, 0.2])
def test_13_a_temperature_from_0_to_1_is_taken(sdk: Sdk, temperature: float) -> None:
    assert sdk.transcribe(file=CLIP, model="micro", temperature=temperature).text == TEXT1


def test_13_a_temperature_above_1_is_refused_by_name(sdk: Sdk) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.transcribe(file=CLIP, model="micro", temperature=1.5)
    assert caught.value.param == "temperature"


def test_14_words_alone(both: Sdk) -> None:
    answer = verbose(both, timestamp_granularities=["word"])
    assert [word.word for word in answer.words] == TEXT2.split()
    assert answer.segments is None


def test_15_words_and_segments(sdk: Sdk) -> None:
    answer = verbose(sdk, timestamp_granularities=["word", "segment"])
    assert (len(answer.words), len(answer.segments)) == (12, 2)


def test_16_segments_are_the_default(sdk: Sdk) -> None:
    answer = verbose(sdk)
    assert len(answer.segments) == 2
    assert answer.words is None


def test_18_granularities_with_json_are_ignored_and_named(sdk: Sdk) -> None:
    answer = sdk.call(
        lambda client: client.audio.transcriptions.with_raw_response.create(
            file=CLIP, model="micro", timestamp_granularities=["word"]
        )
    )
    assert answer.parse().text == TEXT1
    assert answer.headers["x-ignored-params"] == "timestamp_granularities"


@pytest.mark.parametrize("strategy", ["auto", {"type": "server_vad", "threshold": 0.4}, None])
def test_19_20_23_every_chunking_strategy_is_taken(sdk: Sdk, strategy: Any) -> None:
    assert sdk.transcribe(file=CLIP, model="micro", chunking_strategy=strategy).text == TEXT1


def test_24_the_bytes_of_the_tokens_are_the_text(both: Sdk) -> None:
    file = DATA / "short/fr-1.wav"
    answer = both.transcribe(file=file, model="micro", include=["logprobs"])
    said = bytes(int(byte) for token in answer.logprobs for byte in token.bytes)
    assert said.decode().strip() == answer.text
    assert all(token.logprob <= 0 for token in answer.logprobs)


def test_25_an_unknown_include_is_refused(sdk: Sdk) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.transcribe(file=CLIP, model="micro", include=["bogus"])
    assert caught.value.param == "include"


def test_26_keywords_and_languages_are_taken(both: Sdk) -> None:
    answer = both.transcribe(
        file=CLIP, model="micro", keywords=["Clara", "Wednesday"], languages=["en", "de"]
    )
    assert answer.text == TEXT1
    assert verbose(both, CLIP, languages=["de", "fr"]).language in ("german", "french")


def test_27_known_speakers_of_megabytes_are_taken(sdk: Sdk) -> None:
    answer = sdk.transcribe(
        file=CLIP,
        model="micro",
        known_speaker_names=["Ann", "Ben"],
        known_speaker_references=[SPEAKER, SPEAKER],
    )
    assert answer.text == TEXT1


@pytest.mark.parametrize(("names", "references"), [(2, 1), (5, 5)])
def test_28_29_known_speakers_are_checked(sdk: Sdk, names: int, references: int) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.transcribe(
            file=CLIP,
            model="micro",
            known_speaker_names=["Ann"] * names,
            known_speaker_references=["data:audio/wav;base64,AAAA"] * references,
        )
    assert str(caught.value.param).startswith("known_speaker_")


def test_30_the_workers_options_are_reached_through_extra_body(sdk: Sdk) -> None:
    body = {"vad_filter": True, "beam_size": 2, "initial_prompt": "Floors."}
    assert sdk.transcribe(file=CLIP, model="micro", extra_body=body).text == TEXT1
    assert verbose(sdk, CLIP, extra_body={"word_timestamps": True}).words
    deaf = {"vad_parameters": {"threshold": 0.999}}
    assert sdk.transcribe(file=CLIP, model="micro", extra_body=deaf).text == ""
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.transcribe(file=CLIP, model="micro", extra_body={"beam_size": 99})
    assert caught.value.param == "beam_size"


def test_31_an_unknown_format_is_refused_by_name(both: Sdk) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        both.transcribe(file=CLIP, model="micro", response_format="lrc")
    assert (caught.value.param, caught.value.code) == ("response_format", "invalid_value")


def test_36_text_is_the_text_itself(both: Sdk) -> None:
    assert both.transcribe(file=DE2, model="micro", response_format="text") == f"{TEXT2}\n"


def test_36_text_keeps_letters_that_are_not_ascii(sdk: Sdk) -> None:
    file = DATA / "short/fr-1.wav"
    text = sdk.transcribe(file=file, model="micro", response_format="text")
    assert text == "Je voudrais une soupe et une bière, s'il vous plaît.\n"


def test_37_srt_is_read_by_another_parser(both: Sdk) -> None:
    srt = both.transcribe(file=DE2, model="micro", response_format="srt")
    lines = pysubs2.SSAFile.from_string(srt, format_="srt")
    assert [line.text for line in lines] == [
        "Es ist im dritten Stock.",
        "Das Wetter in Berlin ist heute warm.",
    ]
    assert lines[0].end <= lines[1].start


def test_38_vtt_is_read_by_another_parser(both: Sdk) -> None:
    vtt = both.transcribe(file=DE2, model="micro", response_format="vtt")
    assert vtt.startswith("WEBVTT\n\n00:00:0")
    assert [caption.text for caption in webvtt.from_string(vtt)] == [
        "Es ist im dritten Stock.",
        "Das Wetter in Berlin ist heute warm.",
    ]


def test_39_verbose_json_says_its_task(both: Sdk) -> None:
    assert verbose(both).task == "transcribe"


def test_40_segments_are_numbered_and_inside_the_audio(sdk: Sdk) -> None:
    answer = verbose(sdk, DATA / "short/en-3.wav")
    assert [segment.id for segment in answer.segments] == [0, 1, 2]
    for segment in answer.segments:
        assert 0 <= segment.start <= segment.end <= answer.duration + 0.05


def test_41_the_duration_is_that_of_the_audio(sdk: Sdk) -> None:
    assert verbose(sdk).duration == pytest.approx(4.553, abs=0.001)


def test_42_words_are_in_order_and_make_up_the_text(sdk: Sdk) -> None:
    answer = verbose(sdk, timestamp_granularities=["word"])
    assert " ".join(word.word for word in answer.words) == answer.text
    times = [time for word in answer.words for time in (word.start, word.end)]
    assert times == sorted(times)
    assert times[-1] <= answer.duration


def test_43_44_speakers_are_refused_and_not_asked_for_again(gateway: Any) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        Sdk(gateway.url, max_retries=2).transcribe(
            file=CLIP, model="micro", response_format="diarized_json", chunking_strategy="auto"
        )
    assert (caught.value.status_code, caught.value.code) == (501, "not_implemented")
    assert caught.value.request.headers["x-stainless-retry-count"] == "0"


def test_45_46_usage_is_the_duration(sdk: Sdk) -> None:
    assert sdk.transcribe(file=CLIP, model="micro").usage.to_dict() == {
        "type": "duration",
        "seconds": 3,
    }
    assert verbose(sdk).usage.to_dict() == {"type": "duration", "seconds": 5}
    assert verbose(sdk, SILENCE).usage.to_dict() == {"type": "duration", "seconds": 20}


def test_47_silence_has_no_text(both: Sdk) -> None:
    assert both.transcribe(file=SILENCE, model="micro").text == ""
    answer = verbose(both, SILENCE)
    assert (answer.text, answer.language, answer.segments) == ("", "", [])


def test_48_every_answer_has_an_id_of_its_own(both: Sdk) -> None:
    ids = {both.transcribe(file=CLIP, model="micro")._request_id for _ in range(2)}
    assert len(ids) == 2
    assert all(str(request_id).startswith("req_") for request_id in ids)


def test_49_two_at_once_get_each_their_own_text(sdk: Sdk) -> None:
    texts: dict[Path, str] = {}

    def ask(file: Path) -> None:
        texts[file] = sdk.transcribe(file=file, model="micro").text

    threads = [threading.Thread(target=ask, args=(file,)) for file in (CLIP, DE2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert texts == {CLIP: TEXT1, DE2: TEXT2}


def test_50_the_same_request_gives_the_same_text(sdk: Sdk) -> None:
    file = DATA / "hard/noise-10db.wav"
    first, second = (sdk.transcribe(file=file, model="micro").text for _ in range(2))
    assert first == second != ""


def test_65_a_translation_is_english(both: Sdk) -> None:
    answer = both.translate(file=DATA / "short/de-2.wav", model="micro")
    assert answer.text == "It is on the third floor. The weather in Berlin is warm today."


def test_66_a_verbose_translation_is_in_english(sdk: Sdk) -> None:
    answer = sdk.translate(file=DE1, model="micro", response_format="verbose_json")
    assert (answer.language, answer.task) == ("english", "translate")
    assert answer.segments[0].text.startswith(" Turn on the radio")


@pytest.mark.parametrize(("name", "start"), [("text", "T"), ("srt", "1\n0"), ("vtt", "WEBVTT\n\n")])
def test_67_translations_come_as_text_and_subtitles(sdk: Sdk, name: str, start: str) -> None:
    assert sdk.translate(file=DE1, model="micro", response_format=name).startswith(start)


def test_68_translations_know_no_speakers(sdk: Sdk) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.translate(file=DE1, model="micro", response_format="diarized_json")
    assert caught.value.param == "response_format"


def test_69_models_are_listed(both: Sdk) -> None:
    page = both.call(lambda client: client.models.list())
    assert page.object == "list"
    assert [model.id for model in page.data] == [
        "micro",
        "whisper-1",
        "gpt-4o-transcribe",
        "gpt-4o-mini-transcribe",
        "gpt-4o-mini-transcribe-2025-12-15",
        "gpt-transcribe",
    ]
    for model in page.data:
        assert (model.object, model.owned_by, model.model) == ("model", "local", "micro")
        assert model.created > 1_700_000_000
        assert model.tasks == ["transcribe", "translate"]


def test_71_an_unknown_model_is_not_found(both: Sdk) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        both.call(lambda client: client.models.retrieve("no/such"))
    assert caught.value.code == "model_not_found"


def test_72_every_listed_model_is_accepted(sdk: Sdk) -> None:
    for model in sdk.call(lambda client: client.models.list()).data:
        assert sdk.transcribe(file=CLIP, model=model.id).text == TEXT1


def test_73_a_wrong_key_is_an_authentication_error(gateway: Any) -> None:
    with pytest.raises(openai.AuthenticationError, match="Incorrect API key provided") as caught:
        Sdk(gateway.url, key="wrong").transcribe(file=CLIP, model="micro")
    assert (caught.value.status_code, caught.value.code) == (401, "invalid_api_key")


def test_74_a_model_that_is_not_served_is_not_found(both: Sdk) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        both.transcribe(file=CLIP, model="large-v9")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_75_what_is_no_audio_is_a_bad_request_and_asked_once(gateway: Any) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        Sdk(gateway.url, max_retries=2).transcribe(file=b"Good morning." * 99, model="micro")
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request.headers["x-stainless-retry-count"] == "0"


def test_76_a_twentieth_of_a_second_is_too_short(sdk: Sdk) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.transcribe(file=CLIP.read_bytes()[: 44 + 1600], model="micro")
    assert (caught.value.code, caught.value.param) == ("audio_too_short", "file")


def test_77_the_asynchronous_client_sees_the_status_of_a_large_upload_too(worker: Running) -> None:
    """It reads nothing before all is sent, so that all must be read."""

    async def refused(gateway: Running) -> openai.APIStatusError:
        client = openai.AsyncOpenAI(base_url=f"{gateway.url}/v1", api_key=KEY, max_retries=0)
        async with client:
            with pytest.raises(openai.APIStatusError) as caught:
                await client.audio.transcriptions.create(file=bytes(80_000_000), model="micro")
        return caught.value

    with serve_gateway(worker.url, max_upload_bytes=1_000_000) as gateway:
        error = asyncio.run(refused(gateway))
    assert (error.status_code, error.code) == (413, "file_too_large")
