"""Models from the hub: fetched once, served from the cache, and one clear sentence when there is none."""

import ctypes
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest
import requests
from house import CLIP, MICRO
from model_hub import COMMIT, Hub, cached_files, model_hub
from processes import PATIENCE, Service, free_port, service, until
from worker.hub import LEFT_AFTER_SECONDS

SENTENCE = "It is on the first floor."
PR_CAPBSET_DROP, CAP_DAC_OVERRIDE = 24, 1


def hub_settings(url: str, cache: Path, **more: object) -> dict[str, object]:
    return {
        "WHISPER_MODELS": "org/micro",
        "HF_ENDPOINT": url,
        "HF_HOME": cache,
        "HF_HUB_DOWNLOAD_TIMEOUT": int(PATIENCE),
        "WHISPER_DEVICE": "cpu",
        **more,
    }


def health(worker: Service) -> dict[str, Any]:
    return requests.get(f"{worker.url}/health", timeout=PATIENCE).json()  # type: ignore[no-any-return]


def text_of(worker: Service, model: str) -> str:
    with CLIP.open("rb") as audio:
        answer = requests.post(
            f"{worker.url}/transcribe/{model}", files={"file": audio}, timeout=PATIENCE
        )
    assert answer.status_code == 200, answer.text
    return answer.json()["text"]  # type: ignore[no-any-return]


def failure(worker: Service, model: str) -> str:
    """The sentence under `failed`, once it is there."""

    def sentences() -> dict[str, str]:
        return {failed["model"]: failed["reason"] for failed in health(worker)["failed"]}

    until(lambda: model in sentences(), f"{model} had failed:\n{worker.log}")
    return sentences()[model]


def test_the_first_start_downloads_and_the_second_needs_no_hub(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    with model_hub() as hub:
        settings = hub_settings(hub.url, cache)
        with service("worker", tmp_path / "first.log", **settings) as worker:
            assert text_of(worker, "org/micro") == SENTENCE
    assert cached_files(cache) == {
        "config.json",
        "model.bin",
        "preprocessor_config.json",
        "tokenizer.json",
        "vocabulary.json",
    }
    with service("worker", tmp_path / "second.log", **settings) as worker:
        assert text_of(worker, "org/micro") == SENTENCE
        assert "fetching" not in worker.log


def test_health_shows_how_far_a_download_is_and_requests_are_told_to_wait(tmp_path: Path) -> None:
    with model_hub() as hub:
        hub.held_file = "vocabulary.padding"
        settings = hub_settings(hub.url, tmp_path / "cache", WHISPER_MODELS="org/padded")
        with service("worker", tmp_path / "log", ready="/livez", **settings) as worker:

            def share() -> float:
                pending = health(worker)["pending"]
                return pending[0]["progress"] or 0.0 if pending else 0.0

            until(lambda: share() > 0.3, "a share of the download was reported")
            state = requests.get(f"{worker.url}/health", timeout=PATIENCE)
            assert state.status_code == 503
            assert state.json()["status"] == "loading"
            assert state.json()["pending"][0]["model"] == "org/padded"
            assert state.json()["pending"][0]["stage"] == "being fetched"
            assert share() < 1
            refused = requests.post(
                f"{worker.url}/transcribe/org/padded", files={"file": b"x"}, timeout=PATIENCE
            )
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "model_pending"
            assert int(refused.headers["retry-after"]) >= 1
            hub.may_finish.set()
            until(lambda: worker.answers("/readyz"), "the download was used")
            assert text_of(worker, "org/padded") == SENTENCE


def test_a_download_that_was_cut_off_is_begun_anew_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    def left() -> list[Path]:
        return [*(tmp_path / "cache").rglob("*.incomplete")]

    with model_hub() as hub:
        hub.held_file = "model.bin"
        settings = hub_settings(hub.url, tmp_path / "cache")
        with service("worker", tmp_path / "first.log", ready="/livez", **settings) as worker:
            until(lambda: _asked_for(hub, "model.bin"), "the download had begun")
            until(lambda: bool(left()), "a part was on the disk")
            worker.process.kill()
            worker.process.wait()
        hours_ago = time.time() - 2 * LEFT_AFTER_SECONDS
        for part in left():  # of one file or several, which are fetched side by side
            os.utime(part, (hours_ago, hours_ago))
        others = left()[0].with_name("another-workers.incomplete")
        others.write_bytes(b"growing")
        hub.may_finish.set()
        with service("worker", tmp_path / "second.log", **settings) as worker:
            assert text_of(worker, "org/micro") == SENTENCE
    assert left() == [others]


def test_a_download_that_another_program_did_not_finish_is_finished(tmp_path: Path) -> None:
    """Without its list of files a part of a model in the cache looks like the whole."""
    repository = tmp_path / "cache" / "hub" / "models--org--micro"
    part = repository / "snapshots" / COMMIT
    part.mkdir(parents=True)
    (part / "config.json").write_bytes((MICRO / "config.json").read_bytes())
    (repository / "refs").mkdir()
    (repository / "refs" / "main").write_text(COMMIT)
    with model_hub() as hub:
        settings = hub_settings(hub.url, tmp_path / "cache")
        with service("worker", tmp_path / "worker.log", **settings) as worker:
            assert text_of(worker, "org/micro") == SENTENCE


def test_a_stop_does_not_wait_for_a_download(tmp_path: Path) -> None:
    with model_hub() as hub:
        hub.held_file = "model.bin"
        settings = hub_settings(hub.url, tmp_path / "cache")
        with service("worker", tmp_path / "log", ready="/livez", **settings) as worker:
            until(lambda: _asked_for(hub, "model.bin"), "the download had begun")
            worker.process.terminate()
            # The hub still holds the file: only a worker that leaves it can end.
            assert worker.process.wait(PATIENCE) == 0


def _asked_for(hub: Hub, file: str) -> bool:
    return any(line.startswith("GET") and line.endswith(file) for line in hub.asked)


def test_a_model_that_cannot_be_had_is_named_with_its_reason_and_the_others_serve(
    tmp_path: Path,
) -> None:
    models = (
        "org/missing,org/gated,org/unsigned,org/unwell,org/silent,org/text,org/wordless,"
        "org/micro@nonsense,org/--micro,tiny-nonsense,micro"
    )
    with model_hub() as hub:
        settings = hub_settings(hub.url, tmp_path / "cache", WHISPER_MODELS=models)
        with service("worker", tmp_path / "log", **settings) as worker:
            assert health(worker)["loaded_models"] == ["micro"]
            assert {failed["model"]: failed["reason"] for failed in health(worker)["failed"]} == {
                "org/missing": "The hub has no repository org/missing, or HF_TOKEN may not read it",
                "org/gated": "org/gated is gated: accept its terms on the hub and set HF_TOKEN",
                "org/unsigned": (
                    "org/unsigned could not be fetched: the hub answers 401 "
                    "(Invalid credentials in Authorization header)"
                ),
                "org/text": "'org/text' is not a Whisper model in CTranslate2's format",
                "org/wordless": "'org/wordless' has no tokenizer.json",
                "org/micro": "org/micro has no revision nonsense",
                "org/--micro": "'org/--micro' is not a hub id like org/name",
                "tiny-nonsense": (
                    "'tiny-nonsense' is neither a known model, nor a hub id like org/name, nor an "
                    "alias of an existing directory"
                ),
            }
            assert {
                waiting["model"]: waiting["reason"] for waiting in health(worker)["pending"]
            } == {
                "org/unwell": "org/unwell could not be fetched: the hub answers 503",
                "org/silent": (
                    "org/silent could not be fetched: RemoteProtocolError: "
                    "Server disconnected without sending a response."
                ),
            }
            refused = requests.post(
                f"{worker.url}/transcribe/org/missing", files={"file": b"x"}, timeout=PATIENCE
            )
            assert refused.status_code == 503
            assert refused.json()["error"]["code"] == "model_unavailable"
            assert refused.headers["x-should-retry"] == "false"
            assert text_of(worker, "micro") == SENTENCE


def test_a_hub_that_cannot_be_reached_is_one_clear_sentence(tmp_path: Path) -> None:
    settings = hub_settings(
        f"http://127.0.0.1:{free_port()}", tmp_path / "cache", WHISPER_MODELS="micro,org/micro"
    )
    with service("worker", tmp_path / "log", **settings) as worker:
        until(lambda: bool(health(worker)["pending"][0]["reason"]), "the hub was asked")
        [waiting] = health(worker)["pending"]
        assert (waiting["stage"], waiting["reason"]) == (
            "waiting for the hub",
            "org/micro could not be fetched: the hub cannot be reached "
            "(ConnectError: [Errno 111] Connection refused)",
        )


def test_offline_a_model_that_is_not_cached_is_one_clear_sentence(tmp_path: Path) -> None:
    with model_hub() as hub:
        settings = hub_settings(
            hub.url, tmp_path / "cache", WHISPER_MODELS="micro,org/micro", WHISPER_OFFLINE="true"
        )
        with service("worker", tmp_path / "log", **settings) as worker:
            assert failure(worker, "org/micro") == (
                "org/micro is not in the cache and WHISPER_OFFLINE forbids to fetch it"
            )
        assert hub.asked == []


def test_a_cache_that_cannot_be_written_is_one_clear_sentence(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o555)
    with model_hub() as hub:
        settings = hub_settings(hub.url, cache, WHISPER_MODELS="micro,org/micro")
        settings["WHISPER_CACHE_DIR"] = cache
        with service("worker", tmp_path / "log", limit=_respect_modes, **settings) as worker:
            reason = failure(worker, "org/micro")
    assert (
        reason
        == f"org/micro could not be stored: the cache {cache}/models--org--micro is not writable"
    )


def _respect_modes() -> None:
    """Root too is to be bound by a directory's mode: give up CAP_DAC_OVERRIDE for good."""
    if os.getuid() == 0:
        assert ctypes.CDLL(None).prctl(PR_CAPBSET_DROP, CAP_DAC_OVERRIDE, 0, 0, 0) == 0


def test_an_alias_serves_a_local_directory_and_a_request_never_names_one(tmp_path: Path) -> None:
    settings = hub_settings(
        f"http://127.0.0.1:{free_port()}",
        tmp_path / "cache",
        WHISPER_MODELS="ours",
        WHISPER_ALIASES=json.dumps({"ours": str(MICRO)}),
    )
    with service("worker", tmp_path / "log", **settings) as worker:
        assert text_of(worker, "ours") == SENTENCE
        refused = requests.post(
            f"{worker.url}/transcribe/{MICRO}", files={"file": b"x"}, timeout=PATIENCE
        )
        assert refused.status_code == 404
        assert refused.json()["error"]["code"] == "model_not_found"


def test_an_alias_serves_the_revision_of_the_hub_id_that_it_stands_for(tmp_path: Path) -> None:
    with model_hub() as hub:
        settings = hub_settings(
            hub.url,
            tmp_path / "cache",
            WHISPER_MODELS="ours",
            WHISPER_ALIASES=json.dumps({"ours": "org/moved@v1"}),
        )
        with service("worker", tmp_path / "log", **settings) as worker:
            assert text_of(worker, "ours") == SENTENCE


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"WHISPER_MODELS": "nonsense"}, "no model could be loaded"),
        (
            {"WHISPER_COMPUTE_TYPE": "int3"},
            "WHISPER_COMPUTE_TYPE int3 is not supported on cpu; supported: ",
        ),
        ({"WHISPER_BEAM_SIZES": "5"}, "Unknown settings: WHISPER_BEAM_SIZES"),
        ({"WHISPER_BEAM_SIZE": "0"}, "whisper-service cannot start: "),
        ({"WHISPER_TEMP_DIR": "/proc"}, "cannot start: Uploads cannot be stored in /proc: "),
        ({"WHISPER_ALIASES": "ours"}, "cannot start: WHISPER_ALIASES: is not valid JSON"),
    ],
)
def test_a_worker_that_cannot_serve_at_all_ends_with_a_reason_and_a_status(
    tmp_path: Path, settings: dict[str, object], sentence: str
) -> None:
    given = {"WHISPER_MODELS": "micro", "WHISPER_DEVICE": "cpu", "WHISPER_OFFLINE": "true"}
    with service("worker", tmp_path / "log", ready=None, **given | settings) as worker:
        assert worker.process.wait(PATIENCE) == 1
        assert sentence in worker.log
