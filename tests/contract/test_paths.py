"""One slash at the end of a path is as none, on both services."""

import pytest
import requests
from house import SPEECH
from running import KEY, Running, serve_gateway

TEXT = "It is on the first floor."


def test_uploads_are_taken_with_and_without_a_slash(gateway: Running, worker: Running) -> None:
    form = {"model": (None, "micro"), "file": SPEECH}
    answer = gateway.post("/v1/audio/transcriptions/", files=form, allow_redirects=False)
    assert answer.json()["text"] == TEXT
    for service in (gateway, worker):
        answer = service.post("/transcribe/micro/", files={"file": SPEECH}, allow_redirects=False)
        assert answer.json()["text"] == TEXT


def test_the_key_is_asked_for_all_the_same(gateway: Running) -> None:
    answer = gateway.post("/v1/audio/transcriptions/", key=None, allow_redirects=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "missing_api_key")


def test_models_and_probes_are_found_with_a_slash(gateway: Running, worker: Running) -> None:
    assert gateway.get("/v1/models/", key=KEY).json() == gateway.get("/v1/models", key=KEY).json()
    assert gateway.get("/v1/models/micro/", key=KEY).json()["id"] == "micro"
    for service in (gateway, worker):
        for path in ("/readyz/", "/livez/", "/health/"):
            answer = requests.get(service.url + path, allow_redirects=False, timeout=60)
            assert answer.status_code == 200


@pytest.mark.parametrize("path", ["//v1/models", "/v1//models", "/v1/models//", "/v1///models/"])
def test_several_slashes_are_as_one(gateway: Running, path: str) -> None:
    """A base URL that ends in one, and a path that begins with one."""
    assert gateway.get(path, key=KEY).json() == gateway.get("/v1/models", key=KEY).json()
    assert requests.get(gateway.url + path, timeout=60).status_code == 401


@pytest.mark.parametrize("path", ["/", "//", "/nothing/", "/v1/models//other"])
def test_other_paths_stay_unknown(gateway: Running, path: str) -> None:
    answer = requests.post(
        gateway.url + path,
        headers={"Authorization": f"Bearer {KEY}"},
        files={"file": SPEECH},
        allow_redirects=False,
        timeout=60,
    )
    assert answer.status_code in (404, 405)
    assert set(answer.json()) == {"detail", "error"}


def test_a_path_before_all_others_may_end_with_a_slash_too(worker: Running) -> None:
    with serve_gateway(worker.url, root_path="/asr") as gateway:
        for path in ("/asr/v1/models/", "/v1/models/"):
            assert gateway.get(path, key=KEY).json()["data"][0]["id"] == "micro"
        assert gateway.get("/asr/").status_code == 404
