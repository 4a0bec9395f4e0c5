"""What the log says of a request that failed: its id, its code and, where it is our doing, the cause."""

import os
import socket
import subprocess
import sys

import pytest
from false_worker import FAILED, FINISHED, SEGMENT, STARTED, FalseWorker
from gateway.main import create_app
from gateway.settings import Settings
from house import DATA, ROOT, SPEECH
from processes import until
from pydantic import SecretStr
from running import KEY, Running, serve, serve_gateway, serve_worker
from worker.edge import note_failure
from worker.errors import StorageFull, WorkerLost

ROUTE = "/v1/audio/transcriptions"
LONG = (DATA / "long/en-90s.flac").read_bytes()
OVERFULL = '{"type":"failed","status":507,"code":"storage_full","message":"No room"}\n'
SAID = "a word that was said"


@pytest.fixture(autouse=True)
def _all_levels(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")


def line(caplog: pytest.LogCaptureFixture, service: str, request_id: str) -> str:
    """What the service said of a request at its end, with the level before it."""

    def found() -> list[str]:
        return [
            f"{record.levelname} {record.getMessage()}"
            for record in caplog.records
            if record.name == f"{service}.edge"
            and record.getMessage().startswith(f"id={request_id} method=")
        ]

    until(lambda: bool(found()), "the request was logged")
    assert len(found()) == 1
    return found()[0]


def ask(
    caplog: pytest.LogCaptureFixture, *lines: str, stream: bool = False, **settings: object
) -> str:
    """The gateway's line of a request to a worker that sends these."""
    fields = {"model": (None, "micro"), "stream": (None, str(stream)), "file": b"sound"}
    with serve(FalseWorker(*lines).app) as worker, serve_gateway(worker.url, **settings) as gateway:
        answer = gateway.post(ROUTE, files=fields)
        return line(caplog, "gateway", answer.headers["x-request-id"])


@pytest.mark.parametrize("service", ["gateway", "worker"])
def test_a_refused_request_has_its_code(
    request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture, service: str
) -> None:
    running: Running = request.getfixturevalue(service)
    for path, form, end in (
        ("/transcribe/micro", {"file": b""}, "code=invalid_audio"),
        ("/transcribe/tiny", {"file": SPEECH}, "code=model_not_found"),
        ("/nothing", {}, "code=not_found"),
    ):
        answer = running.post(path, files=form)
        said = line(caplog, service, answer.headers["x-request-id"])
        assert said.startswith("INFO ")
        assert f" {end}" in said
        assert "error=" not in said


def test_of_a_models_name_only_the_beginning_is_shown(
    gateway: Running, caplog: pytest.LogCaptureFixture
) -> None:
    shown = f"{'m' * 200}..."
    answer = gateway.post(ROUTE, files={"model": (None, "m" * 2**19), "file": SPEECH})
    assert answer.json()["detail"].startswith(f"The model '{shown}' does not exist")
    said = line(caplog, "gateway", answer.headers["x-request-id"])
    assert said.endswith(f" model={shown} code=model_not_found")


def test_a_good_request_has_no_code(caplog: pytest.LogCaptureFixture) -> None:
    said = ask(caplog, STARTED, SEGMENT, FINISHED)
    assert "status=200" in said
    assert "code=" not in said


@pytest.mark.parametrize("stream", [False, True])
def test_a_lost_worker_is_a_warning_with_the_message_also_in_a_stream(
    caplog: pytest.LogCaptureFixture, stream: bool
) -> None:
    said = ask(caplog, STARTED, SEGMENT, stream=stream)
    assert said.startswith("WARNING ")
    assert f"status={200 if stream else 502}" in said
    assert "code=worker_unavailable error=The model service was lost before it had finished" in said


def test_a_stream_that_its_worker_ends_with_a_failure_has_the_code(
    caplog: pytest.LogCaptureFixture,
) -> None:
    said = ask(caplog, STARTED, SEGMENT, FAILED, stream=True)
    assert "status=200" in said
    assert "code=audio_too_long" in said
    said = ask(caplog, STARTED, SEGMENT, OVERFULL, stream=True)
    assert said.endswith("code=storage_full error=No room")


def test_the_worker_has_the_code_of_a_failure_behind_its_first_event_too(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def broken(mels: object, known: object) -> None:
        raise RuntimeError("a bug")

    with serve_worker() as worker:
        worker.app.state.transcriber.models.station("micro").engine.encode = broken
        answer = worker.post(
            "/transcribe/micro", files={"file": LONG}, headers={"Accept": "application/jsonl"}
        )
        request_id = answer.headers["x-request-id"]
        said = line(caplog, "worker", request_id)
    assert said.startswith("WARNING ")
    assert "status=200" in said
    story = [record for record in caplog.records if record.name == "worker.transcribe.story"]
    assert [record.getMessage() for record in story] == [f"id={request_id} a bug"]
    assert said.endswith("code=internal_error error=Internal server error")


def test_what_was_said_is_not_in_the_cause(caplog: pytest.LogCaptureFixture) -> None:
    broken = SEGMENT.replace('"id":0', '"id":"x"').replace(" Hi.", SAID)
    said = ask(caplog, STARTED, broken)
    assert "error=The model service sent what is not an event cause=ValidationError" in said
    assert SAID not in caplog.text


def test_a_worker_that_cannot_be_reached_has_the_reason(caplog: pytest.LogCaptureFixture) -> None:
    with serve_gateway("http://127.0.0.1:9") as gateway:
        answer = gateway.post("/transcribe/micro", files={"file": b"sound"})
    said = line(caplog, "gateway", answer.headers["x-request-id"])
    assert "code=worker_unavailable error=The model service cannot be reached cause=" in said
    assert "refused" in said or "connection attempts failed" in said


def test_a_secret_that_no_header_can_hold_is_not_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Settings refuse it at start; this is for what they do not foresee."""
    with serve(FalseWorker().app) as worker:
        settings = Settings.model_validate({"model_url": worker.url, "allowed_models": ["micro"]})
        broken = settings.model_copy(update={"worker_token": SecretStr("wt-sec\nret")})
        with serve(create_app(broken)) as gateway:
            answer = gateway.post("/transcribe/micro", files={"file": b"sound"})
    said = line(caplog, "gateway", answer.headers["x-request-id"])
    assert "error=The request to the model service could not be sent" in said
    assert "wt-sec" not in caplog.text + answer.text


def test_the_hubs_client_does_not_log_each_of_its_requests() -> None:
    code = (
        "import sys; from app.logs import configure_logging; configure_logging('INFO'); "
        "from huggingface_hub import get_session; "
        "assert get_session().get(sys.argv[1]).status_code == 404"
    )
    with serve(FalseWorker().app) as hub:
        command = [sys.executable, "-c", code, f"{hub.url}/nothing"]
        folder = ROOT / "whisper-service"
        env = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        asked = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    assert (asked.returncode, asked.stderr) == (0, "")


def test_the_first_cause_is_the_one_that_is_told() -> None:
    facts: dict[str, object] = {}
    try:
        try:
            raise OSError(28, "No space left on device")
        except OSError as exc:
            raise StorageFull("No room") from exc
    except StorageFull as exc:
        lost = WorkerLost("It was lost")
        lost.__cause__ = exc
    note_failure(facts, lost)
    assert facts == {
        "code": "worker_unavailable",
        "error": "It was lost",
        "cause": "OSError: [Errno 28] No space left on device",
    }


def test_a_bug_is_in_the_log_once_and_under_the_id_that_the_client_has(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with serve(FalseWorker().app) as worker, serve_gateway(worker.url) as gateway:
        del gateway.app.state.worker
        answer = gateway.post("/transcribe/micro", files={"file": b"sound"})
    request_id = answer.headers["x-request-id"]
    assert "status=500" in line(caplog, "gateway", request_id)
    assert "code=internal_error" in line(caplog, "gateway", request_id)
    [bug] = [record for record in caplog.records if record.exc_info]
    assert bug.getMessage() == f"id={request_id} a bug"


@pytest.mark.parametrize("path", ["/transcribe/micro", ROUTE])
def test_who_has_no_right_key_is_logged_with_the_address_and_without_the_key(
    gateway: Running, caplog: pytest.LogCaptureFixture, path: str
) -> None:
    for key, why in ((None, "Missing bearer token"), ("a-guess", "Invalid token")):
        request_id = gateway.post(path, key=key).headers["x-request-id"]
        said = [record.getMessage() for record in caplog.records if record.name == "gateway.auth"]
        assert said[-1] == f"id={request_id} client=127.0.0.1 {why}"
    assert "a-guess" not in caplog.text
    assert KEY not in caplog.text


def test_a_path_cannot_pass_for_other_facts(
    gateway: Running, caplog: pytest.LogCaptureFixture
) -> None:
    answer = gateway.get("/x%20status=200%20client=203.0.113.9%20Invalid%20token")
    told = line(caplog, "gateway", answer.headers["x-request-id"])
    assert 'path="/x status=200 client=203.0.113.9 Invalid token" status=404' in told
    answer = gateway.get("/x%22%20status=%22200")
    told = line(caplog, "gateway", answer.headers["x-request-id"])
    assert 'path="/x\\" status=\\"200" status=404' in told


def test_probes_say_once_that_the_worker_is_gone(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with serve_gateway(f"http://127.0.0.1:{port}") as gateway:
        assert [gateway.get("/health").status_code for _ in range(3)] == [503] * 3
    told = [r.getMessage() for r in caplog.records if "health: " in r.getMessage()]
    assert told == ["health: The model service cannot be reached"]


@pytest.mark.parametrize("root", ["", "/asr"])
def test_probes_leave_no_lines_in_the_log(
    caplog: pytest.LogCaptureFixture, worker: Running, root: str
) -> None:
    with serve_gateway(worker.url, root_path=root) as gateway:
        caplog.clear()
        for path in ("/health", "/readyz", "/livez"):
            assert gateway.get(root + path).status_code == 200
    assert [r.getMessage() for r in caplog.records if r.name.endswith(".edge")] == []


def test_a_request_has_one_line_in_each_log(
    caplog: pytest.LogCaptureFixture, gateway: Running
) -> None:
    caplog.clear()
    answer = gateway.post("/transcribe/micro", files={"file": SPEECH})
    for service in ("gateway", "worker"):
        line(caplog, service, answer.headers["x-request-id"])
