"""OpenAI's routes as other clients than the SDKs use them: every wire form, header and error.

The numbers in a name are lines of the list in docs/conformance.md.
"""

import http.client
import json
import subprocess
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import openai
import pytest
import requests
from false_worker import FINISHED, SEGMENT, STARTED, FalseWorker
from gateway.worker import Worker
from house import CLIP, DATA
from openai_sdk import Sdk
from running import KEY, Running, serve, serve_gateway
from worker.errors import OF_A_FILE, ModelPending, ModelUnavailable, Overloaded, ServiceError

ROUTE = "/v1/audio/transcriptions"
SPEECH = CLIP.read_bytes()
TEXT1 = "It is on the first floor."
TEXT3 = "Thank you very much and goodbye. It is on the first floor."
ORIGIN = {"Origin": "https://page.example"}


def send(
    gateway: Running,
    *fields: tuple[str, str],
    file: bytes = SPEECH,
    name: str = "a.wav",
    headers: dict[str, str] | None = None,
) -> requests.Response:
    form: list[tuple[str, Any]] = [(key, (None, value)) for key, value in fields]
    if not any(key == "model" for key, _ in fields):
        form.append(("model", (None, "micro")))
    files = [*form, ("file", (name, file))]
    return gateway.post(ROUTE, files=files, headers=headers or {})


def error(answer: requests.Response, status: int) -> dict[str, Any]:
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-request-id"].startswith("req_")
    body: dict[str, Any] = answer.json()["error"]
    assert set(body) == {"message", "type", "param", "code"}
    assert isinstance(body["code"], str)
    return body


def whole_form(gateway: Running, pieces: Iterator[bytes], boundary: str) -> dict[str, Any]:
    connection = http.client.HTTPConnection(urlsplit(gateway.url).netloc)
    headers = {
        "Authorization": f"Bearer {KEY}",
        "Content-Type": f"multipart/form-data; boundary={boundary}",
        "Transfer-Encoding": "chunked",
    }
    connection.request("POST", ROUTE, body=pieces, headers=headers, encode_chunked=True)
    answer: dict[str, Any] = json.loads(connection.getresponse().read())
    connection.close()
    return answer


@pytest.mark.parametrize("size", [1, 65_536])
def test_08_chunks_of_any_size_give_the_same_text(gateway: Running, size: int) -> None:
    short = SPEECH[:44] + SPEECH[44 : 44 + 40_000]
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nmicro\r\n'
    form += b'--b\r\nContent-Disposition: form-data; name="file"; filename="f"\r\n\r\n'
    form += short + b"\r\n--b--\r\n"
    pieces = (form[start : start + size] for start in range(0, len(form), size))
    text = whole_form(gateway, pieces, "b")["text"]
    assert text == send(gateway, file=short).json()["text"] != ""


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("three.flac", "a.flac"),
        ("three.mp3", "a.mp3"),
        ("three.mp4", "a.mp4"),
        ("three.mp3", "a.mpeg"),
        ("three.mp3", "a.mpga"),
        ("three.m4a", "a.m4a"),
        ("three.ogg", "a.ogg"),
        ("three.opus", "a.oga"),
        ("three.wav", "a.wav"),
        ("three.webm", "a.webm"),
        ("three.flac", "wrong.mp3"),
        ("three.m4a", "none"),
        ("three.ogg", ""),
    ],
)
def test_09_10_every_format_is_taken_under_any_name(gateway: Running, file: str, name: str) -> None:
    answer = send(gateway, file=(DATA / "formats" / file).read_bytes(), name=name)
    assert answer.json()["text"].startswith("Thank you very much and goodbye."), answer.text


@pytest.mark.parametrize(
    "spelling",
    [
        [("timestamp_granularities", "word")],
        [("timestamp_granularities[]", "word")],
        [("timestamp_granularities[0]", "word")],
        [("timestamp_granularities", '["word"]')],
    ],
)
def test_17_a_list_may_be_spelled_without_brackets(
    gateway: Running, spelling: list[tuple[str, str]]
) -> None:
    answer = send(gateway, ("response_format", "verbose_json"), *spelling).json()
    assert [word["word"] for word in answer["words"]] == TEXT1.split()
    assert "segments" not in answer


def test_21_a_chunking_strategy_may_be_json(gateway: Running) -> None:
    strategy = ("chunking_strategy", '{"type": "server_vad", "threshold": 0.4}')
    assert send(gateway, strategy).json()["text"] == TEXT1


def test_22_an_unknown_chunking_strategy_is_refused_by_name(gateway: Running) -> None:
    answer = send(gateway, ("chunking_strategy[type]", "bogus"))
    assert error(answer, 400)["param"] == "chunking_strategy"


def test_32_a_missing_file_or_model_is_refused_by_name(gateway: Running) -> None:
    no_file = gateway.post(ROUTE, files={"model": (None, "micro")})
    assert error(no_file, 400)["param"] == "file"
    assert error(no_file, 400)["code"] == "missing_required_parameter"
    no_model = gateway.post(ROUTE, files={"file": SPEECH})
    assert error(no_model, 400)["param"] == "model"


@pytest.mark.parametrize("body", [{"json": {"model": "micro"}}, {"data": {"model": "micro"}}, {}])
def test_33_what_is_no_multipart_is_refused(gateway: Running, body: dict[str, Any]) -> None:
    assert error(gateway.post(ROUTE, **body), 400)["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("name", "content_type"),
    [
        ("json", "application/json"),
        ("verbose_json", "application/json"),
        ("text", "text/plain; charset=utf-8"),
        ("srt", "text/plain; charset=utf-8"),
        ("vtt", "text/plain; charset=utf-8"),
    ],
)
def test_34_35_each_format_has_its_content_type(
    gateway: Running, name: str, content_type: str
) -> None:
    answer = send(gateway, ("response_format", name))
    assert answer.headers["content-type"] == content_type
    assert int(answer.headers["openai-processing-ms"]) > 0


def test_65_a_translation_of_a_model_that_cannot_is_refused() -> None:
    false = FalseWorker(STARTED, SEGMENT, FINISHED)
    with serve(false.app) as worker, serve_gateway(worker.url) as gateway:
        form = {"model": (None, "micro"), "file": SPEECH}
        answer = gateway.post("/v1/audio/translations", files=form)
    assert error(answer, 400) == {
        "message": "The model 'micro' cannot translate",
        "type": "invalid_request_error",
        "param": "model",
        "code": "invalid_value",
    }


@pytest.mark.parametrize("status", ["pending", "failed"])
def test_a_translation_waits_for_its_model_as_a_transcription_does(status: str) -> None:
    pending = ModelPending("The model 'micro' is still being fetched", retry_after=7)
    false = FalseWorker(refusals=(pending,), model_status=status)
    with serve(false.app) as worker, serve_gateway(worker.url) as gateway:
        form = {"model": (None, "micro"), "file": SPEECH}
        answer = gateway.post("/v1/audio/translations", files=form)
    assert error(answer, 503)["code"] == "model_pending"
    assert answer.headers["retry-after"] == "7"


def test_70_a_model_with_a_slash_in_its_name_is_found(worker: Running) -> None:
    with serve_gateway(worker.url, model_aliases={"acme/micro": "micro"}) as gateway:
        sdk = Sdk(gateway.url)
        assert sdk.call(lambda client: client.models.retrieve("acme/micro")).id == "acme/micro"
        assert sdk.transcribe(file=CLIP, model="acme/micro").text == TEXT1
        answer = gateway.post("/transcribe/acme/micro", files={"file": SPEECH})
        assert answer.json()["text"] == TEXT1
        assert error(send(gateway, ("model", "whisper-1")), 404)["code"] == "model_not_found"


def test_73_no_key_is_401_and_says_how_to_send_one(gateway: Running) -> None:
    answer = gateway.post(ROUTE, key=None, files={"model": (None, "micro"), "file": SPEECH})
    body = error(answer, 401)
    assert body["message"].startswith("You didn't provide an API key")
    assert body["code"] == "missing_api_key"
    assert answer.headers["www-authenticate"] == "Bearer"


def test_a_bug_has_the_one_shape_and_an_id_and_tells_nothing() -> None:
    false = FalseWorker(STARTED, SEGMENT, FINISHED)
    with serve(false.app) as worker, serve_gateway(worker.url) as gateway:
        del gateway.app.state.worker
        body = error(send(gateway), 500)
    assert (body["code"], body["message"]) == ("internal_error", "Internal server error")


def played(*refusals: ServiceError) -> "tuple[FalseWorker, Any]":
    """A worker that refuses so often, and what the SDK with two retries makes of it."""
    false = FalseWorker(STARTED, SEGMENT, FINISHED, refusals=refusals)
    with serve(false.app) as worker, serve_gateway(worker.url) as gateway:
        try:
            answer: Any = Sdk(gateway.url, max_retries=2).transcribe(file=CLIP, model="micro")
        except openai.APIStatusError as exc:
            return false, exc
    return false, answer


def test_79_an_overload_is_asked_again_and_then_served() -> None:
    false, answer = played(Overloaded("Too many requests are waiting", retry_after=1))
    assert (answer.text, len(false.asked)) == ("Hi.", 2)


def test_79_nobody_is_told_to_wait_for_longer_than_the_sdks_do() -> None:
    false = FalseWorker(refusals=(Overloaded("The queue is full", retry_after=500),))
    with serve(false.app) as worker, serve_gateway(worker.url) as gateway:
        answer = send(gateway)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "60")


def test_80_what_will_not_change_is_not_asked_again() -> None:
    false, answer = played(*[ModelUnavailable("The model 'micro' could not be loaded")] * 3)
    assert (answer.status_code, answer.code, len(false.asked)) == (503, "model_unavailable", 1)
    assert answer.response.headers["x-should-retry"] == "false"
    assert "retry-after" not in answer.response.headers, "other clients would come again"


@pytest.mark.parametrize("refusal", OF_A_FILE, ids=lambda refusal: refusal.code)
def test_78_whatever_the_worker_refuses_a_request_for_has_the_one_shape(
    refusal: ServiceError,
) -> None:
    false = FalseWorker(refusals=(refusal,))
    with serve(false.app) as worker, serve_gateway(worker.url) as gateway:
        told = error(send(gateway), refusal.status)
    assert (told["code"], told["message"]) == (refusal.code, refusal.message)
    assert told["param"] == refusal.param


def test_81_unknown_routes_and_methods_have_the_one_shape(gateway: Running) -> None:
    assert error(gateway.post("/v1/audio/speech"), 404)["code"] == "not_found"
    wrong = gateway.get(ROUTE, key=KEY)
    assert error(wrong, 405)["code"] == "method_not_allowed"
    assert wrong.headers["allow"] == "POST"


@pytest.fixture(scope="module")
def for_pages(worker: Running) -> Iterator[Running]:
    """A gateway that web pages of one origin may call."""
    with serve_gateway(worker.url, cors_allow_origins="https://page.example") as gateway:
        yield gateway


def test_82_a_preflight_allows_the_headers_of_the_sdk(for_pages: Running) -> None:
    asked = "authorization,content-type,openai-organization,x-stainless-lang"
    answer = requests.options(
        for_pages.url + ROUTE,
        headers={
            **ORIGIN,
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": asked,
        },
        timeout=10,
    )
    assert answer.status_code == 200
    assert answer.headers["access-control-allow-origin"] == "https://page.example"
    allowed = answer.headers["access-control-allow-headers"].replace(" ", "").lower().split(",")
    assert set(asked.split(",")) <= set(allowed)
    assert answer.headers["x-request-id"].startswith("req_")


def test_82_a_preflight_allows_what_lies_in_a_private_network(for_pages: Running) -> None:
    asked = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Private-Network": "true",
    }
    for origin, status in ((ORIGIN, 200), ({"Origin": "https://other.example"}, 400)):
        answer = requests.options(for_pages.url + ROUTE, headers=asked | origin, timeout=10)
        assert answer.status_code == status
        assert ("access-control-allow-origin" in answer.headers) == (status == 200)
        assert "Origin" in answer.headers["vary"]
        if status == 200:
            assert answer.headers["access-control-allow-private-network"] == "true"
        else:
            assert error(answer, 400)["message"] == "Disallowed CORS origin"


def test_82_a_page_may_read_answers_and_errors_and_their_ids(for_pages: Running) -> None:
    good, bad = send(for_pages, headers=ORIGIN), for_pages.post(ROUTE, key=None, headers=ORIGIN)
    assert (good.status_code, bad.status_code) == (200, 401)
    for answer in (good, bad):
        assert answer.headers["access-control-allow-origin"] == "https://page.example"
        assert "X-Request-ID" in answer.headers["access-control-expose-headers"]


def test_82_a_page_may_read_that_there_is_a_bug(
    for_pages: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(self: Worker) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(Worker, "models", broken)
    headers = ORIGIN | {"Authorization": f"Bearer {KEY}"}
    answer = requests.get(f"{for_pages.url}/v1/models", headers=headers, timeout=60)
    assert error(answer, 500)["message"] == "Internal server error"
    assert answer.headers["access-control-allow-origin"] == "https://page.example"


def test_82_other_pages_may_not(for_pages: Running, gateway: Running) -> None:
    other = send(for_pages, headers={"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers
    assert "access-control-allow-origin" not in send(gateway, headers=ORIGIN).headers


def test_what_is_ignored_is_named_in_a_header(gateway: Running) -> None:
    answer = send(gateway, ("colour", "red"), ("kwargs", "{}"), ("gr\u00f6\u00dfe", "1"))
    assert answer.json()["text"] == TEXT1
    assert answer.headers["x-ignored-params"] == "colour, kwargs, gr??e"
    assert "x-ignored-params" not in send(gateway).headers


@pytest.mark.parametrize(
    ("names", "shown"),
    [
        ([" foo", "bar "], "?foo, bar?"),
        (["a\tb"], "a?b"),
        ([f"colour{number:03d}" for number in range(200)], None),
        ([f"colou{number:03d}" for number in range(200)], None),
    ],
    ids=["blanks", "control characters", "many", "cut at a blank"],
)
def test_no_name_of_an_ignored_field_costs_the_answer(
    gateway: Running, names: list[str], shown: str | None
) -> None:
    answer = send(gateway, *((name, "x") for name in names))
    assert answer.json()["text"] == TEXT1
    header = answer.headers["x-ignored-params"]
    assert header == shown or (shown is None and 900 < len(header) <= 1000)


@pytest.mark.parametrize(
    "preference",
    [
        "handling=strict",
        "respond-async, handling=strict",
        "wait=9,Handling = Strict",
        'handling="strict"; x=1',
    ],
)
def test_a_strict_request_is_refused_what_would_be_ignored(
    gateway: Running, preference: str
) -> None:
    answer = send(gateway, ("colour", "red"), headers={"Prefer": preference})
    body = error(answer, 400)
    assert (body["param"], body["code"]) == ("colour", "unknown_parameter")
    assert send(gateway, headers={"Prefer": preference}).status_code == 200


def test_a_preference_may_have_a_line_of_its_own(gateway: Running) -> None:
    body, kind = requests.models.RequestEncodingMixin._encode_files(
        {"file": SPEECH}, {"model": "micro", "colour": "red"}
    )
    connection = http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=60)
    connection.putrequest("POST", ROUTE)
    headers = (("Authorization", f"Bearer {KEY}"), ("Content-Type", kind))
    for name, value in (*headers, ("Prefer", "respond-async"), ("Prefer", "handling=strict")):
        connection.putheader(name, value)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    assert connection.getresponse().status == 400
    connection.close()


def test_a_strict_gateway_refuses_what_would_be_ignored(worker: Running) -> None:
    with serve_gateway(worker.url, strict_parameters=True) as gateway:
        answer = send(gateway, ("timestamp_granularities[]", "word"))
    assert error(answer, 400)["param"] == "timestamp_granularities"


def test_every_field_may_follow_the_file(gateway: Running) -> None:
    form = [
        ("file", ("a", SPEECH)),
        ("response_format", (None, "srt")),
        ("max_line_count", (None, "1")),
        ("max_line_width", (None, "12")),
        ("model", (None, "micro")),
    ]
    answer = gateway.post(ROUTE, files=form)
    assert [line for line in answer.text.splitlines() if line[:1].isalpha()] == [
        "It is on the",
        "first floor.",
    ]


def test_text_fields_may_say_their_type_before_their_name(gateway: Running) -> None:
    """As aiohttp sends them, and with it Open WebUI."""
    pieces = [
        b'--b\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Disposition: form-data; name="model"'
    ]
    pieces += [
        b"\r\n\r\nmicro\r\n--b\r\nContent-Type: audio/wav\r\nContent-Disposition: form-data; "
    ]
    pieces += [b'name="file"; filename="a.wav"\r\n\r\n', SPEECH, b"\r\n--b--\r\n"]
    assert whole_form(gateway, iter(pieces), "b")["text"] == TEXT1


def curl(gateway: Running, *arguments: str) -> str:
    """curl as OpenAI's documentation writes it; only address, key and file are ours."""
    command = [
        *("curl", "--silent", f"{gateway.url}{ROUTE}"),
        *("-H", f"Authorization: Bearer {KEY}"),
        *("-H", "Content-Type: multipart/form-data"),
        *("-F", f"file=@{CLIP}"),
        *arguments,
    ]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_curl_of_the_documentation_gives_the_text(gateway: Running) -> None:
    assert json.loads(curl(gateway, "-F", "model=gpt-4o-transcribe"))["text"] == TEXT1


def test_curl_of_the_documentation_gives_words(gateway: Running) -> None:
    answer = json.loads(
        curl(
            gateway,
            *("-F", "timestamp_granularities[]=word"),
            *("-F", "model=whisper-1"),
            *("-F", "response_format=verbose_json"),
        )
    )
    assert [word["word"] for word in answer["words"]] == TEXT1.split()


def test_curl_of_the_documentation_streams(gateway: Running) -> None:
    answer = curl(gateway, "-F", "model=gpt-4o-mini-transcribe", "-F", "stream=true")
    assert answer.endswith("data: [DONE]\n\n")


@pytest.mark.parametrize("prefix", ["", "/asr"])
def test_a_gateway_under_a_path_serves_whether_the_proxy_cuts_it_or_not(
    worker: Running, prefix: str
) -> None:
    with serve_gateway(worker.url, root_path="/asr") as gateway:
        models = gateway.get(f"{prefix}/v1/models", key=KEY)
        assert models.json()["data"][0]["id"] == "micro"
        schema = gateway.get(f"{prefix}/openapi.json").json()
        assert schema["servers"] == [{"url": "/asr"}]


@pytest.mark.parametrize("route", ["/transcribe/micro", "/transcribe/whisper-1"])
def test_the_documented_route_gives_subtitles_too(gateway: Running, route: str) -> None:
    form = {"response_format": "vtt", "max_line_width": "12", "max_line_count": "1"}
    answer = gateway.post(route, files={"file": SPEECH}, data=form)
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text.startswith("WEBVTT\n\n00:00:0")
    assert [line for line in answer.text.splitlines() if line[:1].isalpha()] == [
        "WEBVTT",
        "It is on the",
        "first floor.",
    ]


def test_the_documented_route_refuses_a_layout_of_what_is_no_subtitle(gateway: Running) -> None:
    answer = gateway.post(
        "/transcribe/micro", files={"file": SPEECH}, data={"max_line_width": "12"}
    )
    assert error(answer, 400)["param"] == "max_line_width"
    answer = gateway.post(
        "/transcribe/micro", files={"file": SPEECH}, data={"response_format": "text"}
    )
    assert answer.text == f"{TEXT1}\n"
