"""Which language is spoken, asked of both services."""

import pytest
from house import DATA
from running import Running


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


def test_what_is_wrong_is_refused_as_everywhere(gateway: Running) -> None:
    audio = (DATA / "short/en-1.wav").read_bytes()
    unknown = gateway.post("/detect-language/tiny", files={"file": audio})
    assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "model_not_found")
    field = gateway.post("/detect-language/micro", files={"file": audio}, data={"colour": "blue"})
    assert (field.status_code, field.json()["error"]["param"]) == (400, "colour")
    keyless = gateway.post("/detect-language/micro", key=None, files={"file": audio})
    assert keyless.status_code == 401
