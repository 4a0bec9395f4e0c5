"""Which language is spoken, asked of both services."""

import pytest
from false_worker import FAILED, FalseWorker
from house import DATA, SPEECH
from running import Running, serve, serve_gateway

PROGRESS = '{"type":"progress","stage":"detecting","audio_seconds_done":0}\n'
DETECTED = '{"type":"detected","language":"de","language_probability":0.9}\n'


@pytest.fixture(params=["gateway", "worker"])
def service(request: pytest.FixtureRequest) -> Running:
    """Each of the two services."""
    running: Running = request.getfixturevalue(request.param)
    return running


@pytest.mark.parametrize("language", ["en", "de", "fr", "es"])
def test_the_language_spoken_is_the_likeliest(service: Running, language: str) -> None:
    audio = (DATA / f"short/{language}-2.wav").read_bytes()
    answer = service.post("/detect-language/micro", files={"file": audio})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    assert set(body) == {"language", "language_probability", "probabilities"}
    assert body["language"] == language
    assert body["probabilities"][language] == body["language_probability"]
    assert body["language_probability"] == max(body["probabilities"].values())
    assert sum(body["probabilities"].values()) == pytest.approx(1, abs=0.01)


def test_nobody_speaking_is_no_language(service: Running) -> None:
    audio = (DATA / "hard/silence-20s.wav").read_bytes()
    answer = service.post("/detect-language/micro", files={"file": audio})
    assert answer.json()["language"] is None
    assert answer.json()["probabilities"] == {}


def test_a_worker_that_is_busy_for_long_is_waited_for_as_long_as_it_shows_signs_of_life() -> None:
    busy = FalseWorker(*[PROGRESS] * 11, DETECTED, every_seconds=0.5)
    with serve(busy.app) as worker, serve_gateway(worker.url, model_timeout=4) as gateway:
        answer = gateway.post("/detect-language/micro", files={"file": b"sound"})
    assert answer.json() == {"language": "de", "language_probability": 0.9, "probabilities": {}}


@pytest.mark.parametrize(
    ("last", "expected"),
    [(FAILED, (413, "audio_too_long")), (PROGRESS, (502, "worker_unavailable"))],
)
def test_a_worker_that_fails_behind_its_first_sign_of_life_is_heard(
    last: str, expected: tuple[int, str]
) -> None:
    with serve(FalseWorker(PROGRESS, last).app) as worker, serve_gateway(worker.url) as gateway:
        answer = gateway.post("/detect-language/micro", files={"file": b"sound"})
    assert (answer.status_code, answer.json()["error"]["code"]) == expected


def test_what_is_wrong_is_refused_as_everywhere(gateway: Running) -> None:
    audio = SPEECH
    unknown = gateway.post("/detect-language/tiny", files={"file": audio})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    field = gateway.post("/detect-language/micro", files={"file": audio}, data={"colour": "blue"})
    assert (field.status_code, field.json()["error"]["param"]) == (400, "colour")
    keyless = gateway.post("/detect-language/micro", key=None, files={"file": audio})
    assert keyless.status_code == 401
