"""Every way to fail, asked for once: the house's one shape, on both services."""

import http.client
import json
import re
import socket
import sys
import time
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from gateway.fields import split_name
from gateway.openai_form import KNOWN
from house import SPEECH
from processes import until
from running import KEY, Running, serve, serve_gateway, serve_worker


def assert_house_error(
    answer: requests.Response, status: int, code: str, param: str | None
) -> None:
    """The one shape: `detail` for FastAPI's users, `error` for OpenAI's SDKs, and an id."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/json"
    assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", answer.headers["x-request-id"])
    body = answer.json()
    assert set(body) == {"detail", "error"}
    assert set(body["error"]) == {"message", "type", "param", "code"}
    assert body["detail"] == body["error"]["message"]
    assert body["error"]["code"] == code
    assert body["error"]["param"] == param
    if answer.headers.get("x-should-retry") == "false":
        assert "retry-after" not in answer.headers
    elif status == 503:
        assert 1 <= int(answer.headers["retry-after"]) <= 60


MISSING = "missing_required_parameter"
FORM_FAILURES = [
    ("other file", {"files": {"audio": SPEECH}}, 400, MISSING, "file"),
    ("and other", {"files": {"file": SPEECH, "audio": SPEECH}}, 400, "unknown_parameter", "audio"),
    ("and before", {"files": {"audio": SPEECH, "file": SPEECH}}, 400, "unknown_parameter", "audio"),
    ("only fields", {"files": {"language": (None, "en")}}, 400, MISSING, "file"),
    ("no multipart", {"data": {"language": "en"}}, 400, "invalid_value", "file"),
    ("no body", {}, 400, "invalid_value", "file"),
    ("empty file", {"files": {"file": b""}}, 400, "invalid_audio", "file"),
    (
        "text file",
        {"files": {"file": b"Good morning." * 99}},
        400,
        "unsupported_media_type",
        "file",
    ),
    ("header only", {"files": {"file": SPEECH[:44]}}, 400, "invalid_audio", "file"),
    ("0.05 s", {"files": {"file": SPEECH[: 44 + 1600]}}, 400, "audio_too_short", "file"),
    ("two files", {"files": [("file", SPEECH), ("file", SPEECH)]}, 400, "invalid_value", "file"),
    ("1001 parts", {"files": [("audio", b"")] * 1001}, 400, "invalid_value", None),
    (
        "not UTF-8",
        {"files": {"prompt": (None, b"\xff"), "file": SPEECH}},
        400,
        "invalid_value",
        "prompt",
    ),
    (
        "twice",
        {"files": [("language", (None, "en"))] * 2 + [("file", SPEECH)]},
        400,
        "invalid_value",
        "language",
    ),
    (
        "again",
        {"files": [("language", (None, "en")), ("file", SPEECH), ("language", (None, "en"))]},
        400,
        "invalid_value",
        "language",
    ),
]
OPTION_FAILURES = [
    ("colour", "blue", "unknown_parameter"),
    ("language", "klingon", "invalid_value"),
    ("task", "sing", "invalid_value"),
    ("temperature", "1.5", "invalid_value"),
    ("temperature", "nan", "invalid_value"),
    ("beam_size", "0", "invalid_value"),
    ("vad_filter", "perhaps", "invalid_value"),
    ("repetition_penalty", "1e-300", "invalid_value"),
    ("languages", r'["\ud800"]', "invalid_value"),
]


@pytest.fixture(params=["gateway", "worker"])
def service(request: pytest.FixtureRequest) -> Running:
    """Each of the two services."""
    running: Running = request.getfixturevalue(request.param)
    return running


@pytest.mark.parametrize(
    ("form", "status", "code", "param"),
    [case[1:] for case in FORM_FAILURES],
    ids=[case[0] for case in FORM_FAILURES],
)
def test_a_bad_form_is_refused(
    service: Running, form: dict[str, object], status: int, code: str, param: str | None
) -> None:
    assert_house_error(service.post("/transcribe/micro", **form), status, code, param)


@pytest.mark.parametrize(("name", "value", "code"), OPTION_FAILURES)
@pytest.mark.parametrize("where", ["before", "after"])
def test_a_bad_option_is_refused_by_name(
    service: Running, name: str, value: str, code: str, where: str
) -> None:
    file, option = ("file", ("a", SPEECH)), (name, (None, value))
    form = [option, file] if where == "before" else [file, option]
    assert_house_error(service.post("/transcribe/micro", files=form), 400, code, name)


@pytest.mark.parametrize("name", ["tenant", "priority"])
def test_what_only_the_gateway_says_is_unknown_to_its_clients(gateway: Running, name: str) -> None:
    form = [(name, (None, "bulk")), ("file", ("a", SPEECH))]
    answer = gateway.post("/transcribe/micro", files=form)
    assert_house_error(answer, 400, "unknown_parameter", name)


@pytest.mark.parametrize(
    "fields",
    [
        [("response_format", "docx")],
        [("response_format", "srt"), ("response_format", "srt")],
        [("max_line_width", "20"), ("response_format", "srt"), ("max_line_width", "20")],
    ],
    ids=["unknown format", "format twice", "layout twice"],
)
def test_what_only_the_gateway_reads_is_refused_by_name(
    gateway: Running, fields: list[tuple[str, str]]
) -> None:
    form = [(name, (None, value)) for name, value in fields]
    answer = gateway.post("/transcribe/micro", files=[*form, ("file", SPEECH)])
    assert_house_error(answer, 400, "invalid_value", fields[0][0])


def test_a_broken_multipart_body_is_refused(service: Running) -> None:
    answer = service.post(
        "/transcribe/micro",
        data=b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabc',
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert_house_error(answer, 400, "invalid_value", None)


def test_a_boundary_that_nobody_may_send_is_refused(service: Running) -> None:
    headers = {"Content-Type": f"multipart/form-data; boundary={'b' * 300}"}
    answer = service.post("/transcribe/micro", data=b"--b", headers=headers)
    assert_house_error(answer, 400, "invalid_value", None)


def test_unknown_models_paths_and_methods_are_refused(service: Running) -> None:
    unknown = service.post("/transcribe/tiny", files={"file": SPEECH})
    assert_house_error(unknown, 404, "model_not_found", "model")
    assert_house_error(service.get("/nothing/here"), 404, "not_found", None)
    assert_house_error(service.get("/transcribe/micro"), 405, "method_not_allowed", None)


def test_keys_may_have_letters_of_any_language() -> None:
    with (
        serve_worker(worker_token="schl\u00fcssel") as guarded,
        serve_gateway(guarded.url, api_key="cl\u00e9", worker_token="schl\u00fcssel") as gateway,
    ):
        headers = {"Authorization": "Bearer cl\u00e9".encode()}
        answer = gateway.post("/transcribe/micro", None, headers=headers, files={"file": SPEECH})
        assert answer.status_code == 200, answer.text
        headers = {"Authorization": "Bearer cl\u00e8".encode()}
        wrong = gateway.post("/transcribe/micro", None, headers=headers, files={"file": SPEECH})
        assert_house_error(wrong, 403, "invalid_api_key", None)


def test_a_missing_and_a_wrong_key_are_told_apart(gateway: Running) -> None:
    missing = gateway.post("/transcribe/micro", key=None, files={"file": SPEECH})
    assert_house_error(missing, 401, "missing_api_key", None)
    assert missing.headers["www-authenticate"] == "Bearer"
    assert missing.json()["detail"] == "Missing bearer token"
    malformed = gateway.post(
        "/transcribe/micro", key=None, headers={"Authorization": KEY}, files={"file": SPEECH}
    )
    assert_house_error(malformed, 401, "missing_api_key", None)
    wrong = gateway.post("/transcribe/micro", key="guess", files={"file": SPEECH})
    assert_house_error(wrong, 403, "invalid_api_key", None)
    assert wrong.json()["detail"] == "Invalid token"


def test_an_empty_key_lets_everybody_in_with_a_loud_warning(
    worker: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with serve_gateway(worker.url, api_key="") as gateway:
        answer = gateway.post("/transcribe/micro", key=None, files={"file": SPEECH})
        assert answer.json() == {"text": "It is on the first floor.", "language": "en"}
    assert "API_KEY IS EMPTY" in caplog.text


def test_a_worker_with_a_token_serves_only_who_knows_it() -> None:
    with serve_worker(worker_token="secret") as worker:
        missing = worker.post("/transcribe/micro", key=None, files={"file": SPEECH})
        assert_house_error(missing, 401, "missing_api_key", None)
        wrong = worker.post("/transcribe/micro", key="guess", files={"file": SPEECH})
        assert_house_error(wrong, 403, "invalid_api_key", None)
        assert worker.get("/health").status_code == 200
        with serve_gateway(worker.url, worker_token="secret") as gateway:
            assert gateway.post("/transcribe/micro", files={"file": SPEECH}).status_code == 200
        with serve_gateway(worker.url, worker_token="other") as gateway:
            answer = gateway.post("/transcribe/micro", files={"file": SPEECH})
            assert_house_error(answer, 502, "worker_unavailable", None)


def test_a_gateway_that_its_worker_refuses_is_not_healthy_and_says_why(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serve_worker(worker_token="secret") as worker:
        for token, status in (("secret", 200), ("other", 503), ("", 503)):
            with serve_gateway(worker.url, worker_token=token) as gateway:
                for path in ("/health", "/readyz"):
                    assert gateway.get(path).status_code == status
    told = [record.getMessage() for record in caplog.records if record.name == "gateway.worker"]
    assert len(told) == 2  # once by each gateway, however often it is asked
    assert all("check WORKER_TOKEN" in line for line in told)


def test_a_worker_that_is_not_there_is_503_and_health_says_so() -> None:
    with serve_gateway("http://127.0.0.1:9") as gateway:
        answer = gateway.post("/transcribe/micro", files={"file": SPEECH})
        assert_house_error(answer, 503, "worker_unavailable", None)
        health = gateway.get("/health")
        assert health.status_code == 503
        assert health.json()["model"] == {
            "status": "unreachable",
            "loaded_models": [],
            "pending": [],
            "failed": [],
        }
        assert gateway.get("/livez").status_code == 200
        assert gateway.get("/readyz").status_code == 503


def test_a_body_beyond_the_limit_is_413_by_its_length_and_by_its_bytes(worker: Running) -> None:
    with serve_gateway(worker.url, max_upload_bytes=1000) as gateway:
        declared = gateway.post("/transcribe/micro", files={"file": SPEECH})
        assert_house_error(declared, 413, "file_too_large", "file")
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        chunked = gateway.post(
            "/transcribe/micro",
            data=iter([head, *(SPEECH[i : i + 500] for i in range(0, len(SPEECH), 500))]),
            headers={"Content-Type": "multipart/form-data; boundary=b"},
        )
        assert_house_error(chunked, 413, "file_too_large", "file")


@pytest.mark.parametrize(
    ("body", "status", "code", "param", "message"),
    [
        (b"", 400, "invalid_value", None, "Invalid JSON"),
        (b"{", 400, "invalid_value", None, "Invalid JSON"),
        (b'{"size": -1}', 400, "invalid_value", "size", "size: Input should be greater than"),
        (b'{"colour": 1}', 400, "unknown_parameter", "colour", "Unknown parameter"),
        (b'{"options": {"colour": 1}}', 400, "unknown_parameter", "colour", "Unknown parameter"),
        (b" " * (16 * 2**20 + 1), 413, "file_too_large", None, "The body is larger than the limit"),
    ],
    ids=["no body", "no JSON", "bad value", "unknown", "unknown option", "too large"],
)
def test_a_bad_question_of_admission_is_refused(
    worker: Running, body: bytes, status: int, code: str, param: str | None, message: str
) -> None:
    answer = worker.post("/admission/micro", data=body)
    assert_house_error(answer, status, code, param)
    assert answer.json()["detail"].startswith(message)


@pytest.mark.parametrize(
    ("size", "expected"), [(2**40, (413, "file_too_large")), (2**59, (507, "storage_full"))]
)
def test_an_upload_that_is_too_large_is_refused_before_it_comes(
    size: int, expected: tuple[int, str]
) -> None:
    with serve_worker(max_upload_bytes=2**60 if size > 2**40 else 2**30) as worker:
        answer = worker.post("/admission/micro", json={"size": size})
        assert (answer.status_code, answer.json()["error"]["code"]) == expected
        assert worker.post("/admission/micro", json={"size": 1000}).status_code == 204


def test_a_gateway_asks_for_the_room_of_an_upload_before_it_passes_it_on() -> None:
    with serve_worker(max_upload_bytes=1000) as worker, serve_gateway(worker.url) as gateway:
        connection = http.client.HTTPConnection(urlsplit(gateway.url).netloc, timeout=60)
        connection.putrequest("POST", "/transcribe/micro")
        connection.putheader("Authorization", f"Bearer {KEY}")
        connection.putheader("Content-Type", "multipart/form-data; boundary=b")
        connection.putheader("Content-Length", "2000")
        head = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
        connection.endheaders(head)
        assert connection.getresponse().status == 413
        connection.close()


def test_a_gateway_reaches_its_worker_past_any_proxy_of_its_surroundings(
    worker: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Docker may set one in every container; it would be sent uploads and WORKER_TOKEN."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    with serve_gateway(worker.url) as gateway, requests.Session() as client:
        client.trust_env = False
        answer = client.post(
            f"{gateway.url}/transcribe/micro",
            headers={"Authorization": f"Bearer {KEY}"},
            files={"file": SPEECH},
            timeout=60,
        )
    assert answer.json()["text"] == "It is on the first floor."


def test_a_gateway_has_as_many_requests_open_at_its_worker_as_come(worker: Running) -> None:
    with serve_gateway(worker.url) as gateway:
        pool = gateway.app.state.worker._client._transport._pool
        assert pool._max_connections == sys.maxsize


def test_a_client_cannot_write_into_the_line_that_names_its_address(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, worker: Running
) -> None:
    """A trusted proxy may pass on what a client says of itself."""
    with serve_gateway(worker.url) as gateway:
        served = gateway.app

        async def through_a_proxy(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                scope = {**scope, "client": ("1.2.3.4 Invalid\n", 0)}
            await served(scope, receive, send)

        with serve(through_a_proxy) as behind:  # type: ignore[arg-type]
            assert behind.get("/v1/models", key="wrong").status_code == 401
    [line] = [r.getMessage() for r in caplog.records if "client=" in r.getMessage()]
    assert " client=1.2.3.4?Invalid? " in line
    assert "\n" not in line


def test_a_worker_with_a_token_reads_no_body_of_who_does_not_know_it() -> None:
    with serve_worker(worker_token="secret") as worker:
        answer = worker.post("/admission/micro", key=None, data=b"{")
        assert_house_error(answer, 401, "missing_api_key", None)


def test_audio_beyond_the_limit_is_413() -> None:
    with serve_worker(max_audio_seconds=1) as worker, serve_gateway(worker.url) as gateway:
        for service in (worker, gateway):
            answer = service.post("/transcribe/micro", files={"file": SPEECH})
            assert_house_error(answer, 413, "audio_too_long", "file")


def test_a_request_id_is_kept_when_it_is_sane_and_replaced_when_it_is_not(service: Running) -> None:
    kept = service.post("/transcribe/tiny", headers={"X-Request-ID": "my-id.1"})
    assert kept.headers["x-request-id"] == "my-id.1"
    replaced = service.post("/transcribe/tiny", headers={"X-Request-ID": "a b"})
    assert replaced.headers["x-request-id"].startswith("req_")


@pytest.mark.parametrize(
    ("path", "own"),
    [
        ("/transcribe/{model}", {"403"}),
        ("/v1/audio/transcriptions", {"501"}),
        ("/v1/audio/translations", set()),
    ],
)
def test_the_openapi_page_documents_every_field_and_every_error_with_an_example(
    gateway: Running, path: str, own: set[str]
) -> None:
    schema = gateway.get("/openapi.json").json()
    route = schema["paths"][path]["post"]
    statuses = {"400", "401", "404", "408", "413", "500", "502", "503", "504", "507"} | own
    assert set(route["responses"]) == statuses | {"200", "default"}
    for status in statuses:
        assert route["responses"][status]["content"]["application/json"]["examples"]
    form = route["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert {"file", "response_format", "language", "beam_size", "max_line_width"} <= set(form)
    assert not {"tenant", "priority"} & set(form)
    assert "$ref" not in str(form)
    assert schema["components"]["securitySchemes"]
    assert gateway.get("/docs").status_code == 200


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/v1/models", {"200", "401", "502", "503", "504"}),
        ("/v1/models/{name}", {"200", "401", "404", "502", "503", "504"}),
    ],
)
def test_the_openapi_page_documents_the_errors_of_the_models(
    gateway: Running, path: str, statuses: set[str]
) -> None:
    route = gateway.get("/openapi.json").json()["paths"][path]["get"]
    assert set(route["responses"]) == statuses | {"default"}


@pytest.mark.parametrize(
    ("path", "kinds"),
    [
        ("/transcribe/{model}", {"text/plain"}),
        ("/v1/audio/transcriptions", {"text/plain", "text/event-stream"}),
        ("/v1/audio/translations", {"text/plain", "text/event-stream"}),
    ],
)
def test_the_openapi_page_has_every_kind_of_answer(
    gateway: Running, path: str, kinds: set[str]
) -> None:
    answer = gateway.get("/openapi.json").json()["paths"][path]["post"]["responses"]["200"]
    assert set(answer["content"]) == {"application/json"} | kinds


@pytest.mark.parametrize(
    "path",
    ["/transcribe/{model}", "/detect-language/{model}", "/v1/audio/transcriptions"],
)
def test_what_the_page_of_documentation_sends_by_itself_is_right(
    gateway: Running, path: str
) -> None:
    """As Swagger UI fills its form: each field with its default, else its example, else one it makes up."""
    route = gateway.get("/openapi.json").json()["paths"][path]["post"]
    form = route["requestBody"]["content"]["multipart/form-data"]["schema"]
    sent: list[tuple[str, Any]] = [("file", SPEECH)]
    for name, field in form["properties"].items():
        if name in form["required"]:
            continue
        value = field["default"] if "default" in field else field["example"]
        values = value if isinstance(value, list) else [value]
        sent += [(name, (None, v if isinstance(v, str) else json.dumps(v))) for v in values]
    if "model" in form["required"]:
        sent.append(("model", (None, "micro")))
    answer = gateway.post(path.replace("{model}", "micro"), files=sent)
    assert answer.status_code == 200, answer.text
    assert "x-ignored-params" not in answer.headers


@pytest.mark.parametrize("size", [17_000, 31_000])
@pytest.mark.parametrize("pieces", [1, 3])
def test_headers_that_are_too_large_are_refused_however_they_arrive(
    service: Running, size: int, pieces: int
) -> None:
    head = f"GET /livez HTTP/1.1\r\nHost: x\r\nCookie: {'c' * size}\r\n\r\n".encode()
    with socket.create_connection(("127.0.0.1", urlsplit(service.url).port)) as connection:
        for start in range(0, len(head), -(-len(head) // pieces)):
            connection.sendall(head[start : start + -(-len(head) // pieces)])
            time.sleep(0.05)
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        body = json.loads(answer.read())
    assert answer.status == 400
    assert body["error"]["message"] == "The address and the headers are larger than 16384 bytes"


def test_an_address_counts_among_the_headers(
    service: Running, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    refused = service.get(f"/{'a' * 17_000}")
    assert (refused.status_code, len(refused.text) < 1000) == (400, True)
    assert service.get(f"/{'a' * 8_000}").status_code == 404

    def ours() -> list[str]:
        return [r.getMessage() for r in caplog.records if r.name.endswith(".edge")]

    until(lambda: len(ours()) == 2, "both had their lines")
    assert all(len(line) < 2000 for line in ours())


def test_a_connection_ends_behind_a_request_with_two_lengths(service: Running) -> None:
    """A proxy in front may have believed the other one; what follows may be a part of this request."""
    head = (
        b"POST /no HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", urlsplit(service.url).port), 30) as connection:
        connection.sendall(head + b"0\r\n\r\nGET /livez HTTP/1.1\r\nHost: a\r\n\r\n")
        answers = b""
        while piece := connection.recv(65536):
            answers += piece
    assert answers.count(b"HTTP/1.1 ") == 1
    assert b"connection: close" in answers.lower()


def test_a_target_may_be_a_whole_address_as_proxies_are_asked(service: Running) -> None:
    with closing(http.client.HTTPConnection(urlsplit(service.url).netloc)) as connection:
        connection.request("GET", f"{service.url}/livez")
        assert connection.getresponse().status == 200


def test_a_wrong_key_says_which_one_is_wanted(gateway: Running) -> None:
    for path, status in (("/v1/models", 401), ("/transcribe/micro", 403)):
        ask = gateway.get if path == "/v1/models" else gateway.post
        answer = ask(path, key="wrong")
        assert answer.status_code == status
        assert (answer.headers.get("www-authenticate") == "Bearer") is (status == 401)


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/audio/translations"])
def test_the_openapi_page_has_every_field_that_is_read_on_v1(gateway: Running, path: str) -> None:
    route = gateway.get("/openapi.json").json()["paths"][path]["post"]
    form = route["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert {split_name(name)[0] for name in form["properties"]} == KNOWN | {"file"}
    assert form["required"] == ["file", "model"]


def test_the_pages_of_documentation_load_nothing_from_elsewhere(gateway: Running) -> None:
    page = gateway.get("/docs").text
    loaded = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert loaded
    for address in loaded:
        assert address.startswith("/")
        assert gateway.get(address).status_code == 200


@pytest.mark.parametrize("path", ["/transcribe/{model}", "/detect-language/{model}"])
def test_the_workers_page_describes_its_forms_without_references_that_lead_nowhere(
    worker: Running, path: str
) -> None:
    route = worker.get("/openapi.json").json()["paths"][path]["post"]
    form = route["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert "threshold" in form["vad_parameters"]["properties"]
    assert "$ref" not in str(form)


@pytest.mark.parametrize("service", ["gateway", "worker"])
def test_the_form_of_the_language_alone_has_what_is_read_there(
    request: pytest.FixtureRequest, service: str
) -> None:
    schema = request.getfixturevalue(service).get("/openapi.json").json()
    route = schema["paths"]["/detect-language/{model}"]["post"]
    form = route["requestBody"]["content"]["multipart/form-data"]["schema"]["properties"]
    assert {"file", "languages", "language_detection_segments", "deadline"} <= set(form)
    assert not {"beam_size", "prompt", "max_line_width"} & set(form)


@pytest.mark.parametrize(
    "path", ["/health", "/livez", "/readyz", "/docs", "/openapi.json", "/transcribe/micro", "/no"]
)
def test_whatever_may_be_read_may_be_asked_for_its_headers_alone(
    service: Running, path: str
) -> None:
    answer, whole = requests.head(service.url + path, timeout=60), service.get(path)
    assert (answer.status_code, answer.content) == (whole.status_code, b"")
    assert answer.headers["content-type"] == whole.headers["content-type"]


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz"])
def test_a_wrong_method_is_told_those_that_are_right(service: Running, path: str) -> None:
    answer = service.post(path)
    assert_house_error(answer, 405, "method_not_allowed", None)
    assert answer.headers["allow"] == "GET, HEAD"
