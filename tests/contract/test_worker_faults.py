"""What clients are told when the worker misbehaves: each fault played by a small false worker."""

import socket
import threading
from urllib.parse import urlsplit

import pytest
from false_worker import FAILED, FINISHED, SEGMENT, STARTED, FalseWorker
from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse
from running import KEY, Running, serve, serve_gateway


def ask(false_worker: FalseWorker, **settings: object) -> "tuple[int, dict[str, object]]":
    with serve(false_worker.app) as worker, serve_gateway(worker.url, **settings) as gateway:
        answer = gateway.post("/transcribe/micro", files={"file": b"sound"})
        return answer.status_code, answer.json()


def code(body: dict[str, object]) -> object:
    error = body["error"]
    assert isinstance(error, dict)
    return error["code"]


def test_a_good_stream_is_the_answer() -> None:
    status, body = ask(FalseWorker(STARTED, SEGMENT, FINISHED))
    assert (status, body) == (200, {"text": "Hi.", "language": "en"})


@pytest.mark.parametrize("character", ["\x85", "\u2028", "\u2029"])
def test_characters_that_end_lines_elsewhere_are_text(character: str) -> None:
    segment = SEGMENT.replace(" Hi.", f" a{character}b")
    status, body = ask(FalseWorker(STARTED, segment, FINISHED))
    assert (status, body["text"]) == (200, f"a{character}b")


def test_a_failure_after_the_first_byte_keeps_its_status() -> None:
    status, body = ask(FalseWorker(STARTED, SEGMENT, FAILED))
    assert (status, code(body)) == (413, "audio_too_long")


@pytest.mark.parametrize("lines", [(), (STARTED,), (STARTED, SEGMENT)])
def test_a_stream_that_just_ends_is_a_lost_worker(lines: tuple[str, ...]) -> None:
    status, body = ask(FalseWorker(*lines))
    assert (status, code(body)) == (502, "worker_unavailable")


@pytest.mark.parametrize(
    "garbage", ["<html>\n", "[1]\n", '{"type":"segment","id":"x"}\n', "\xff\n"]
)
def test_what_is_not_an_event_is_a_lost_worker(garbage: str) -> None:
    status, body = ask(FalseWorker(STARTED, garbage, FINISHED))
    assert (status, code(body)) == (502, "worker_unavailable")


@pytest.mark.parametrize("lines", [(), (STARTED, SEGMENT)])
def test_a_silent_worker_is_given_up(lines: tuple[str, ...]) -> None:
    silent = FalseWorker(*lines, hang=True)
    # Long enough for the admission, which it limits too.
    status, body = ask(silent, model_timeout=2)
    assert (status, code(body)) == (504, "worker_timeout")
    assert silent.released.wait(10)


def test_a_worker_that_is_silent_when_it_is_asked_beforehand_is_given_up_soon(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("gateway.worker.ADMISSION_SECONDS", 0.5)
    silent = FalseWorker(STARTED, FINISHED, admits=False)
    status, body = ask(silent, model_timeout=3600)
    assert (status, code(body)) == (504, "worker_timeout")


def test_a_worker_that_answers_in_another_shape_is_a_lost_worker() -> None:
    app = FastAPI()

    @app.post("/admission/{model}")
    async def admit() -> Response:
        return Response("<h1>Bad Gateway</h1>", status_code=502, media_type="text/html")

    with serve(app) as worker, serve_gateway(worker.url) as gateway:
        answer = gateway.post("/transcribe/micro", files={"file": b"sound"})
        assert (answer.status_code, code(answer.json())) == (502, "worker_unavailable")


@pytest.mark.parametrize(
    ("strange", "answered"),
    [
        (Response(status_code=302, headers={"Location": "/login"}), "302 with no content"),
        (HTMLResponse("<h1>Welcome</h1>"), "200 with text/html"),
        (JSONResponse({"object": "list", "data": []}), "200 with application/json"),
        (Response("x", headers={"Content-Encoding": "gzip"}), None),
    ],
    ids=["redirect", "page", "JSON", "broken"],
)
def test_what_is_no_worker_is_a_lost_one_with_what_it_answered(
    strange: Response, answered: str | None
) -> None:
    app = FastAPI()

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    async def answer(path: str) -> Response:
        return strange

    with serve(app) as worker, serve_gateway(worker.url) as gateway:
        for told in (
            gateway.get("/v1/models", key=KEY),
            gateway.post("/transcribe/micro", files={"file": b"sound"}),
        ):
            assert (told.status_code, code(told.json())) == (502, "worker_unavailable")
            if answered is not None:
                assert told.json()["detail"] == f"The model service answered {answered}"
        assert gateway.get("/readyz").status_code == 503


def test_a_client_that_leaves_ends_the_workers_stream() -> None:
    patient = FalseWorker(STARTED, SEGMENT, hang=True)
    with serve(patient.app) as worker, serve_gateway(worker.url) as gateway:
        leave_after(gateway, patient.streaming)
        assert patient.released.wait(10)


@pytest.mark.parametrize("path", ["/transcribe/micro", "/v1/audio/transcriptions"])
def test_a_client_that_leaves_before_the_workers_first_word_ends_its_work(path: str) -> None:
    silent, received, left = FalseWorker(), threading.Event(), threading.Event()
    app = FastAPI()
    app.get("/models")(silent.models)
    app.post("/admission/{model}", status_code=204)(silent.admit)

    @app.post("/transcribe/{model}")
    async def transcribe(request: Request) -> Response:
        async for _ in request.stream():
            pass
        received.set()
        while (await request.receive())["type"] != "http.disconnect":
            pass
        left.set()
        return Response()

    with serve(app) as worker, serve_gateway(worker.url) as gateway:
        leave_after(gateway, received, path)
        assert left.wait(10)


def leave_after(gateway: Running, event: threading.Event, path: str = "/transcribe/micro") -> None:
    """Post a file, and close the connection once `event` has happened."""
    model = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nmicro\r\n'
    body = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx\r\n--b--\r\n'
    if path.startswith("/v1"):
        body = model + body
    head = (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer change-me\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    address = urlsplit(gateway.url)
    with socket.create_connection((address.hostname, address.port)) as connection:
        connection.sendall(head.encode() + body)
        assert event.wait(10)
