"""Clients that are slow or leave, on both services: an answer for those who wait, no task for the rest."""

import asyncio
import gc
import http.client
import json
import logging
import select
import socket
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import pytest
import uvicorn
from fastapi import FastAPI, Request, Response
from gateway.edge import install_edge
from gateway.main import create_app as create_gateway
from gateway.server import DeadlineProtocol, _for_both_families
from gateway.settings import Settings as GatewaySettings
from house import DATA, SPEECH
from processes import PATIENCE, until
from running import KEY, Running, serve
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.server import ServerState
from worker import main as worker_main
from worker.lines import EventLines
from worker.settings import Settings as WorkerSettings
from worker.wire import Event, Failed, Health, Progress, Started, parse_event

HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"
STARTED = Started(request_id="r", model="micro")


class Impatient(DeadlineProtocol):
    header_seconds = 0.3
    body_seconds = 0.3
    reading_seconds = 0.3


@pytest.fixture(scope="module")
def impatient(worker: Running) -> Iterator[Running]:
    """A gateway that waits for nobody, so that no test has to wait for long."""
    settings = GatewaySettings.model_validate(
        {"model_url": worker.url, "allowed_models": ["micro"]}
    )
    with serve(create_gateway(settings), protocol=Impatient) as gateway:
        yield gateway


def connect(service: Running) -> socket.socket:
    parts = urlsplit(service.url)
    return socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)


def request_head(path: str, length: int) -> bytes:
    return (
        f"POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        f"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


def read_to_the_end(connection: socket.socket) -> tuple[bytes, dict[str, object]]:
    """The status line and the body of the answer after which the server closes."""
    received = b""
    while piece := connection.recv(65536):
        received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert b"\r\nx-request-id: req_" in head.lower()
    return head.split(b"\r\n")[0], json.loads(body)


TOO_SLOW = {
    "detail": "The request took too long to arrive",
    "error": {
        "message": "The request took too long to arrive",
        "type": "invalid_request_error",
        "param": None,
        "code": "request_timeout",
    },
}


@pytest.mark.parametrize(
    "sent",
    [b"", b"POST /transcribe/micro HTT", b"POST /transcribe/micro HTTP/1.1\r\nHost: x\r\nA"],
    ids=["nothing", "half a line", "half of the headers"],
)
def test_headers_that_do_not_come_are_answered_408(impatient: Running, sent: bytes) -> None:
    with connect(impatient) as connection:
        connection.sendall(sent)
        status, body = read_to_the_end(connection)
    assert status == b"HTTP/1.1 408 Request Timeout"
    assert body == TOO_SLOW


def test_a_body_that_stands_still_is_answered_408(impatient: Running) -> None:
    with connect(impatient) as connection:
        connection.sendall(request_head("/transcribe/micro", 1_000_000) + HEAD + SPEECH)
        status, body = read_to_the_end(connection)
    assert status == b"HTTP/1.1 408 Request Timeout"
    assert body == TOO_SLOW


def test_a_body_that_crawls_is_answered_408(impatient: Running) -> None:
    """A byte now and then would hold the place of a whole file for months."""
    with connect(impatient) as connection:
        connection.sendall(request_head("/transcribe/micro", 1_000_000) + HEAD)
        while not select.select([connection], [], [], Impatient.body_seconds / 2.5)[0]:
            connection.sendall(b"x")
        status, body = read_to_the_end(connection)
    assert status == b"HTTP/1.1 408 Request Timeout"
    assert body == TOO_SLOW


def test_what_waits_for_a_client_is_never_too_little_to_be_watched() -> None:
    limits: list[tuple[int, int]] = []

    class Watched(DeadlineProtocol):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            limits.append(transport.get_write_buffer_limits())

    with serve(FastAPI(), protocol=Watched) as service:
        service.get("/")
    assert limits == [(0, 0)]


def test_a_connection_that_rests_between_requests_is_kept(impatient: Running) -> None:
    with closing(http.client.HTTPConnection(urlsplit(impatient.url).netloc)) as connection:
        connection.connect()
        first = connection.sock
        for _ in range(2):
            connection.request("GET", "/livez")
            assert connection.getresponse().read() == b'{"status":"ok"}'
            threading.Event().wait(3 * Impatient.header_seconds)
        assert connection.sock is first


def run_worker(monkeypatch: pytest.MonkeyPatch, state: Health) -> tuple[dict[str, Any], list[int]]:
    """Run a worker whose server ends at once: what it was served with, and how its process ended.

    `state` is what its models are found in then.
    """
    served: dict[str, Any] = {}
    left: list[int] = []

    def serve(app: FastAPI, **how: object) -> None:
        served.update(how)
        monkeypatch.setattr(app.state.models, "health", lambda: state)

    settings = WorkerSettings.model_validate({"whisper_models": ["micro"]})
    monkeypatch.setattr(worker_main, "load_settings", lambda: settings)
    monkeypatch.setattr(worker_main, "configure_logging", lambda level: None)
    monkeypatch.setattr(worker_main, "serve", serve)
    monkeypatch.setattr(worker_main.logging, "shutdown", lambda: None)
    monkeypatch.setattr(worker_main.os, "_exit", left.append)
    worker_main.run()
    return served, left


def test_the_worker_waits_for_fields_that_its_gateway_still_waits_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A slow field behind the file: its bytes keep the gateway's deadline away, but not the worker's."""
    served, left = run_worker(monkeypatch, Health(status="ok", loaded_models=["micro"]))
    assert served["protocol"].body_seconds > 100 * DeadlineProtocol.body_seconds
    assert left == []


def test_the_worker_does_not_wait_for_a_model_whose_step_hangs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its destructor would wait for that step for ever."""
    _, left = run_worker(monkeypatch, Health(status="stalled", loaded_models=["micro"]))
    assert left == [0]


def test_an_answer_may_take_longer_than_any_deadline_of_its_request() -> None:
    app = FastAPI()

    @app.post("/")
    async def answer_late(request: Request) -> int:
        received = len(await request.body())
        await asyncio.sleep(3 * Impatient.body_seconds)
        return received

    with serve(app, protocol=Impatient) as service:
        assert service.post("/", data=b"four").json() == 4


def test_a_client_whose_body_waits_for_a_slow_service_is_not_blamed() -> None:
    app = FastAPI()

    @app.post("/")
    async def begin_late(request: Request) -> int:
        await asyncio.sleep(3 * Impatient.body_seconds)
        return len(await request.body())

    with serve(app, protocol=Impatient) as service, connect(service) as connection:
        # At once, so that the client has nothing left to do for which a busy machine could be late.
        # It is more than the service takes in before the body is asked for.
        connection.sendall(request_head("/", 1_000_000) + bytes(1_000_000))
        answer = http.client.HTTPResponse(connection)
        answer.begin()
        assert (answer.status, answer.read()) == (200, b"1000000")


class Untaken(asyncio.Transport):
    """Bytes of an answer that wait for the client."""

    def __init__(self) -> None:
        super().__init__()
        self.size = 1000
        self.aborted = asyncio.Event()

    def get_write_buffer_size(self) -> int:
        return self.size

    def abort(self) -> None:
        self.aborted.set()


def test_a_client_that_reads_slowly_is_not_cut_off_until_it_stops() -> None:
    """On the timers of one loop, whose order is the same on the slowest machine."""

    async def untaken_when_cut_off() -> int:
        loop, answer = asyncio.get_running_loop(), Untaken()
        protocol = Impatient(uvicorn.Config(FastAPI(), log_config=None), ServerState(), {})
        protocol.transport, protocol.flow = answer, FlowControl(answer)

        def take() -> None:
            answer.size -= 1
            if answer.size > 994:
                loop.call_later(Impatient.reading_seconds / 3, take)

        protocol.pause_writing()
        loop.call_later(Impatient.reading_seconds / 3, take)
        await answer.aborted.wait()
        return answer.size

    assert asyncio.run(untaken_when_cut_off()) == 994


def test_the_work_for_a_client_that_does_not_read_its_answer_ends() -> None:
    app = FastAPI()
    ended = threading.Event()

    async def endless() -> AsyncGenerator[Event, None]:
        try:
            while True:
                yield Progress(stage="x" * 1_000_000, audio_seconds_done=0)
                await asyncio.sleep(0)
        finally:
            ended.set()

    @app.get("/")
    async def answer() -> Response:
        return EventLines(STARTED, endless())

    with serve(app, protocol=Impatient) as service, connect(service) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        assert ended.wait(PATIENCE)


def stopped(app: FastAPI, **headers: str) -> list[Any]:
    """What is sent to a request that a stop does not wait for: uvicorn cancels it when its patience ends."""
    install_edge(app)
    sent: list[Any] = []

    async def stop() -> None:
        begun = asyncio.Event()

        async def send(message: dict[str, Any]) -> None:
            sent.append(message)

        app.state.begun = begun
        lines = [(name.encode(), value.encode()) for name, value in headers.items()]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": lines}
        work = app(scope | {"query_string": b""}, asyncio.Event().wait, send)
        request = asyncio.ensure_future(work)
        await begun.wait()
        request.cancel()
        await request

    asyncio.run(stop())
    return sent


@pytest.mark.parametrize("headers", [{}, {"content-length": "1000000"}], ids=["whole", "arriving"])
def test_a_request_that_a_stop_does_not_wait_for_is_told_to_come_again(
    headers: dict[str, str],
) -> None:
    """At once, also while its upload arrives: the server ends before the rest would be there."""
    app = FastAPI()

    @app.get("/")
    async def wait_for_ever() -> None:
        app.state.begun.set()
        await asyncio.Event().wait()

    sent = stopped(app, **headers)
    assert sent[0]["status"] == 503
    assert dict(sent[0]["headers"])[b"retry-after"] == b"1"
    assert json.loads(sent[1]["body"])["error"] == {
        "message": "The service is shutting down",
        "type": "server_error",
        "param": None,
        "code": "overloaded",
    }


def test_a_stream_that_a_stop_does_not_wait_for_says_so_in_its_last_line(
    caplog: pytest.LogCaptureFixture,
) -> None:
    app = FastAPI()

    async def endless() -> AsyncGenerator[Event, None]:
        app.state.begun.set()
        await asyncio.Event().wait()
        yield STARTED

    @app.get("/")
    async def answer() -> Response:
        return EventLines(STARTED, endless())

    status, *bodies = stopped(app)
    assert status["status"] == 200
    first, last, *rest = b"".join(body["body"] for body in bodies).splitlines()
    assert parse_event(first) == STARTED
    failed = parse_event(last)
    assert isinstance(failed, Failed)
    assert (failed.status, failed.code, rest) == (503, "overloaded", [])
    assert not bodies[-1].get("more_body", False)
    assert "Traceback" not in caplog.text


def pending_tasks() -> int:
    """Tasks of every event loop of this process that have not ended."""
    return sum(
        isinstance(thing, asyncio.Task) and not thing.done()  # type: ignore[misc]
        for thing in gc.get_objects()
    )


def leave_in_mid_upload(service: Running, path: str) -> None:
    with connect(service) as connection:
        connection.sendall(request_head(path, 1_000_000) + HEAD + SPEECH)


def leave_in_mid_transcription(service: Running, path: str) -> None:
    file = (DATA / "long" / "en-90s.flac").read_bytes()
    body = HEAD + file + TAIL
    with connect(service) as connection:
        connection.sendall(request_head(path, len(body)) + body)


@pytest.mark.parametrize("leave", [leave_in_mid_upload, leave_in_mid_transcription])
@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_clients_that_leave_leave_no_task_behind(
    request: pytest.FixtureRequest,
    caplog: pytest.LogCaptureFixture,
    name: str,
    leave: Callable[[Running, str], None],
) -> None:
    service: Running = request.getfixturevalue(name)
    service.get("/livez")
    before = pending_tasks()

    def noticed() -> int:
        lines = [record for record in caplog.records if record.name == f"{name}.edge"]
        return sum("status=499" in record.getMessage() for record in lines)

    with caplog.at_level(logging.INFO):
        leave(service, "/transcribe/micro")
        leave(service, "/transcribe/micro")
        until(lambda: noticed() == 2, "both were seen to have left")
    until(lambda: pending_tasks() <= before, "every task had ended")
    answer = service.post("/transcribe/micro", files={"file": SPEECH})
    assert answer.json()["text"] == "It is on the first floor."


@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_a_client_that_leaves_a_stream_is_logged_as_one_that_left(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    service: Running = request.getfixturevalue(name)
    path, fields = "/transcribe/micro", {}
    if name == "gateway":
        path, fields = "/v1/audio/transcriptions", {"model": "micro", "stream": "true"}
    file = (DATA / "long" / "en-90s.flac").open("rb")
    headers = {"Accept": "application/jsonl"}
    with caplog.at_level(logging.INFO), file:
        answer = service.post(path, data=fields, files={"file": file}, headers=headers, stream=True)
        next(answer.iter_lines())
        answer.close()
        until(lambda: "path=" + path in caplog.text, "the request was logged")
    lines = [r.getMessage() for r in caplog.records if r.name == f"{name}.edge"]
    assert [f"path={path} status=499" in line for line in lines] == [True]


def test_whoever_leaves_with_the_last_event_has_not_left_early(
    gateway: Running, caplog: pytest.LogCaptureFixture
) -> None:
    fields = {"model": "micro", "stream": "true"}
    path = "/v1/audio/transcriptions"
    with caplog.at_level(logging.INFO):
        answer = gateway.post(path, data=fields, files={"file": SPEECH}, stream=True)
        for line in answer.iter_lines():
            if b"transcript.text.done" in line:
                break
        answer.close()
        until(lambda: caplog.text.count(" status=") == 2, "both services have logged it")
    assert caplog.text.count(" status=200") == 2


@pytest.mark.parametrize("path", ["/nope", "/transcribe/micro"])
@pytest.mark.parametrize("name", ["gateway", "worker"])
def test_a_broken_chunk_is_no_bug_and_has_one_line(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, name: str, path: str
) -> None:
    """Also where the application is about to answer, as it is without such a path."""
    service: Running = request.getfixturevalue(name)
    head = request_head(path, 1).replace(b"Content-Length: 1", b"Transfer-Encoding: chunked")
    with caplog.at_level(logging.INFO), connect(service) as connection:
        connection.sendall(head + b"zz\r\n")
        status, body = read_to_the_end(connection)
        until(lambda: " status=" in caplog.text, "the request was logged")
    assert (status, body["detail"]) == (
        b"HTTP/1.1 400 Bad Request",
        "Invalid HTTP request received.",
    )
    assert [r.getMessage() for r in caplog.records if r.levelno >= logging.ERROR] == []
    [line] = [r.getMessage() for r in caplog.records if " status=" in r.getMessage()]
    assert "status=400" in line
    assert "code=invalid_value" in line


def test_a_body_that_stands_still_has_one_line(
    impatient: Running, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO), connect(impatient) as connection:
        connection.sendall(request_head("/transcribe/micro", 1_000_000) + HEAD + SPEECH)
        read_to_the_end(connection)
        until(lambda: "gateway.edge" in caplog.text, "the request was logged")
    lines = [r.getMessage() for r in caplog.records if r.name.startswith("gateway.")]
    [line] = [line for line in lines if " status=" in line]
    assert "path=/transcribe/micro status=408" in line
    assert "code=request_timeout" in line


@pytest.mark.parametrize(
    ("path", "protocol", "status"), [("/livez", "h2c", 200), ("/v1/realtime", "websocket", 404)]
)
def test_an_offer_of_another_protocol_is_passed_over_without_a_warning(
    gateway: Running, caplog: pytest.LogCaptureFixture, path: str, protocol: str, status: int
) -> None:
    """Java's client makes one with each first request; there is no library to install against it."""
    answer = gateway.get(path, headers={"Connection": "Upgrade", "Upgrade": protocol})
    assert answer.status_code == status
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []


def test_both_families_of_addresses_are_listened_at() -> None:
    if not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    (listening,) = _for_both_families(0) or []
    with listening:
        for host in ("127.0.0.1", "::1"):
            socket.create_connection((host, listening.getsockname()[1])).close()
