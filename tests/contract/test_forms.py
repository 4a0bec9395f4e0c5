"""Forms as clients get them wrong, and forms that are right only as a whole."""

import http.client
import json
from collections.abc import Sequence
from typing import Any, BinaryIO
from urllib.parse import urlsplit

import pytest
import requests
from false_worker import FINISHED, SEGMENT, STARTED, FalseWorker
from gateway import uploads
from gateway.multipart import Part
from house import SPEECH
from running import KEY, Running, serve, serve_gateway
from worker.errors import InvalidRequest, UnknownParameter

ROUTE = "/v1/audio/transcriptions"
TEXT = "It is on the first floor."
FILE = ("file", ("a.wav", SPEECH))
MODEL = ("model", (None, "micro"))
BINARY = bytes(range(256)) * 100
STRICT = {"Prefer": "handling=strict"}


@pytest.fixture(params=["gateway", "worker"])
def service(request: pytest.FixtureRequest) -> Running:
    """Each of the two services."""
    running: Running = request.getfixturevalue(request.param)
    return running


def failure(answer: requests.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


@pytest.mark.parametrize(
    "layout",
    [
        {"max_line_width": "0"},
        {"max_line_width": "1000", "max_line_count": "2", "highlight_words": "true"},
    ],
)
def test_a_wrong_layout_is_refused_before_the_file_has_come(
    gateway: Running, layout: dict[str, str]
) -> None:
    parts = {**layout, "response_format": "srt"}
    body = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'
        for name, value in parts.items()
    )
    body += '--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    connection = http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=60)
    connection.putrequest("POST", "/transcribe/micro")
    connection.putheader("Authorization", f"Bearer {KEY}")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", str(2**20))
    connection.endheaders(body.encode())  # and no sound yet
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["error"]["param"]) == (400, [*layout][-1])
    connection.close()


def test_a_file_that_waits_for_its_model_leaves_others_room_on_the_disk(
    gateway: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    left: list[int] = []
    store = uploads.store

    async def noted(part: Part, file: BinaryIO, *, reserve: int = 0) -> int:
        left.append(reserve)
        return await store(part, file, reserve=reserve)

    monkeypatch.setattr(uploads, "store", noted)
    assert gateway.post(ROUTE, files=[FILE, MODEL]).json()["text"] == TEXT
    assert left == [256 * 2**20]


# --- files under other names ----------------------------------------------------------------------


@pytest.mark.parametrize("name", ["audio", "audio_file"])
def test_a_file_under_another_name_is_told_of(
    service: Running, gateway: Running, name: str
) -> None:
    for answer in (
        service.post("/transcribe/micro", files={name: SPEECH}),
        gateway.post(ROUTE, files=[MODEL, (name, ("a.wav", SPEECH))]),
    ):
        assert failure(answer) == (400, "missing_required_parameter", "file")
        assert answer.json()["detail"] == f"The part 'file' is missing; a file came as '{name}'"


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 0, 2), (1, 2, 0), (2, 1, 0)])
def test_a_second_file_under_another_name_is_ignored_and_named(
    gateway: Running, order: Sequence[int]
) -> None:
    parts: list[Any] = [("thumbnail", ("a.png", BINARY)), FILE, MODEL]
    answer = gateway.post(ROUTE, files=[parts[place] for place in order])
    assert answer.json()["text"] == TEXT
    assert answer.headers["x-ignored-params"] == "thumbnail"
    answer = gateway.post(ROUTE, files=[parts[place] for place in order], headers=STRICT)
    assert failure(answer) == (400, "unknown_parameter", "thumbnail")


def test_a_file_that_is_not_read_may_be_larger_than_any_field(gateway: Running) -> None:
    large = ("thumbnail", ("a.png", bytes(17 * 2**20)))
    assert gateway.post(ROUTE, files=[MODEL, large, FILE]).json()["text"] == TEXT


@pytest.mark.parametrize("order", [1, -1])
def test_a_field_may_have_a_file_name(service: Running, gateway: Running, order: int) -> None:
    german = ("language", ("language.txt", "de", "text/plain"))
    answer = service.post("/transcribe/micro", files=[german, FILE][::order])
    assert answer.json()["language"] == "de"
    words = ("timestamp_granularities[]", ("blob", "word"))
    verbose = ("response_format", ("blob", "verbose_json"))
    answer = gateway.post(
        ROUTE, files=[("model", ("blob", "micro")), verbose, words, FILE][::order]
    )
    assert [word["word"] for word in answer.json()["words"]] == TEXT.split()


# --- options in the address -----------------------------------------------------------------------


@pytest.mark.parametrize("route", ["/transcribe/micro", "/detect-language/micro"])
def test_an_option_in_the_address_is_refused_by_name(service: Running, route: str) -> None:
    answer = service.post(f"{route}?language=de", files=[FILE])
    assert failure(answer) == (400, "unknown_parameter", "language")
    assert "fields of the form" in answer.json()["detail"]


def test_an_option_in_the_address_is_ignored_and_named_on_v1(gateway: Running) -> None:
    answer = gateway.post(f"{ROUTE}?language=de&colour=", files=[MODEL, FILE])
    assert answer.json()["text"] == TEXT
    assert answer.headers["x-ignored-params"] == "language, colour"
    answer = gateway.post(f"{ROUTE}?language=de", files=[MODEL, FILE], headers=STRICT)
    assert failure(answer) == (400, "unknown_parameter", "language")


# --- forms that the file cuts in two --------------------------------------------------------------


def test_a_strict_form_is_judged_as_a_whole(gateway: Running) -> None:
    words = ("timestamp_granularities[]", (None, "word"))
    verbose = ("response_format", (None, "verbose_json"))
    answer = gateway.post(ROUTE, files=[MODEL, words, FILE, verbose], headers=STRICT)
    assert [word["word"] for word in answer.json()["words"]] == TEXT.split()
    for form in ([MODEL, words, FILE], [FILE, words, MODEL]):
        answer = gateway.post(ROUTE, files=form, headers=STRICT)
        assert failure(answer) == (400, "unknown_parameter", "timestamp_granularities")


@pytest.mark.parametrize("route", ["/transcribe/micro", ROUTE])
def test_a_value_may_be_made_right_by_a_field_behind_the_file(gateway: Running, route: str) -> None:
    model = [MODEL] if route == ROUTE else []
    patience, beam_size = ("patience", (None, "0.05")), ("beam_size", (None, "20"))
    answer = gateway.post(route, files=[*model, patience, FILE, beam_size])
    assert answer.json()["text"] == TEXT
    answer = gateway.post(route, files=[*model, patience, FILE])
    assert failure(answer) == (400, "invalid_value", "patience")


@pytest.mark.parametrize(
    ("refusal", "served"),
    [
        (InvalidRequest("The model knows English only", param="languages"), True),
        (InvalidRequest("The model does not know the language 'xx'", param="language"), False),
        (UnknownParameter("Unknown parameter: 'x'", param="x"), False),
    ],
)
def test_of_what_the_worker_says_beforehand_only_what_others_decide_is_not_the_last_word(
    refusal: InvalidRequest, served: bool
) -> None:
    for form in ([MODEL, FILE], [FILE, MODEL]):
        false = FalseWorker(STARTED, SEGMENT, FINISHED, refusals=(refusal,))
        with serve(false.app) as worker, serve_gateway(worker.url) as gateway:
            answer = gateway.post(ROUTE, files=form)
        # A form whose model follows its file has been read as a whole by then.
        is_whole = form[-1] is MODEL
        assert answer.status_code == (200 if served and not is_whole else 400), answer.text
