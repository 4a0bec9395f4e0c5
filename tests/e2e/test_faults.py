"""What goes wrong in operation, with both services as real processes: each fault has its answer, and
afterwards nothing is left of it: no file, no connection, no place in the queue."""

import http.client
import json
import os
import resource
import signal
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from house import DATA, SPEECH
from processes import PATIENCE, Service, gateway_settings, service, until, worker_settings

KEY = "a-key-of-this-test"
SPOKEN = {"text": "It is on the first floor.", "language": "en"}
LONG = (DATA / "long" / "en-10min.mp3").read_bytes()
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"


@dataclass
class System:
    """Worker and gateway, and the folder where they put uploads."""

    worker: Service
    gateway: Service
    uploads: Path

    def post(self, file: bytes) -> requests.Response:
        return requests.post(
            f"{self.gateway.url}/transcribe/micro",
            files={"file": file},
            headers={"Authorization": f"Bearer {KEY}"},
            timeout=PATIENCE,
        )

    def post_pieces(self, file: list[bytes]) -> requests.Response:
        """Send a file whose size nobody knows before it is whole, and read the answer then."""
        return requests.post(
            f"{self.gateway.url}/transcribe/micro",
            data=iter([HEAD, *file, TAIL]),
            headers={
                "Authorization": f"Bearer {KEY}",
                "Content-Type": "multipart/form-data; boundary=b",
            },
            timeout=PATIENCE,
        )

    def post_to_v1(self, form: list[tuple[str, Any]]) -> requests.Response:
        """Send a form with its fields in this order, and do not wait for the end of a stream."""
        return requests.post(
            f"{self.gateway.url}/v1/audio/transcriptions",
            files=form,
            headers={"Authorization": f"Bearer {KEY}"},
            stream=True,
            timeout=PATIENCE,
        )

    def begin(self, first: bytes, length: int | None = None) -> http.client.HTTPConnection:
        """Start an upload, which is whole once `length` bytes of body were sent."""
        connection = http.client.HTTPConnection(urlsplit(self.gateway.url).netloc, timeout=PATIENCE)
        connection.putrequest("POST", "/transcribe/micro")
        connection.putheader("Authorization", f"Bearer {KEY}")
        connection.putheader("Content-Type", "multipart/form-data; boundary=b")
        connection.putheader("Content-Length", str(length or 10 * len(HEAD + first + TAIL)))
        connection.endheaders(HEAD + first)
        return connection

    def stored_uploads(self) -> int:
        """Files of requests that the worker holds open now (they have no names)."""
        links = Path(f"/proc/{self.worker.process.pid}/fd").iterdir()
        return sum(_target(link).startswith(str(self.uploads)) for link in links)

    def connections(self) -> int:
        """Sockets that the two processes hold open now."""
        pids = (self.worker.process.pid, self.gateway.process.pid)
        links = (link for pid in pids for link in Path(f"/proc/{pid}/fd").iterdir())
        return sum(_target(link).startswith("socket:") for link in links)

    def has_room(self) -> bool:
        """Whether the worker would take another request."""
        asked = requests.post(
            f"{self.worker.url}/admission/micro", json={"options": {}}, timeout=PATIENCE
        )
        return asked.status_code == 204

    def forgets(self) -> None:
        """Wait until nothing is left of what was asked before, and see that it works as ever."""
        until(lambda: self.stored_uploads() == 0, "the uploads were gone")
        until(self.has_room, "there was room again")
        assert list(self.uploads.iterdir()) == []
        assert self.post(SPEECH).json() == SPOKEN


def _target(link: Path) -> str:
    try:
        return str(link.readlink())
    except OSError:  # closed since it was listed
        return ""


@contextmanager
def running(
    folder: Path,
    *,
    worker: dict[str, object] | None = None,
    gateway: dict[str, object] | None = None,
    limit: Callable[[], None] | None = None,
) -> Iterator[System]:
    uploads = folder / "uploads"
    uploads.mkdir(exist_ok=True)
    with ExitStack() as stack:
        for_worker = worker_settings(WHISPER_TEMP_DIR=uploads) | (worker or {})
        first = stack.enter_context(
            service("worker", folder / "worker.log", limit=limit, **for_worker)
        )
        for_gateway = gateway_settings(first, API_KEY=KEY, TMPDIR=uploads) | (gateway or {})
        second = stack.enter_context(
            service("gateway", folder / "gateway.log", limit=limit, **for_gateway)
        )
        yield System(first, second, uploads)


@pytest.fixture(scope="module")
def system(tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """One system for all faults that it survives; it takes one request and lets one wait."""
    settings: dict[str, object] = {
        "WHISPER_WORKERS": 1,
        "WHISPER_MAX_BATCH_SIZE": 1,
        "WHISPER_MAX_QUEUE": 1,
    }
    limits: dict[str, object] = {"MAX_UPLOAD_BYTES": 10_000_000}
    folder = tmp_path_factory.mktemp("system")
    with running(folder, worker=settings, gateway=limits) as system:
        yield system


def test_a_full_queue_refuses_with_a_time_to_come_back_and_empties_when_clients_leave(
    system: System,
) -> None:
    streams: list[requests.Response] = []

    def is_taken() -> bool:
        form = [("model", (None, "micro")), ("stream", (None, "true")), ("file", LONG)]
        streams.append(system.post_to_v1(form))
        return streams[-1].status_code == 200

    assert is_taken()
    # The first waits until a window of its runs, and then before each of the others for a moment.
    until(is_taken, "another was taken beside it")
    # That is as many as may be open, whatever they are at.
    refused = system.post(SPEECH)
    assert refused.status_code == 503
    assert refused.json()["error"]["code"] == "overloaded"
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    for stream in streams:
        stream.close()
    system.forgets()


def test_a_client_that_leaves_in_mid_upload_leaves_nothing(system: System) -> None:
    before = system.connections()
    connection = system.begin(LONG[: len(LONG) // 2])
    until(lambda: system.stored_uploads() == 1, "the worker stored what had arrived")
    connection.close()
    until(lambda: system.stored_uploads() == 0, "the upload was gone")
    until(lambda: system.connections() <= before, "its connections were closed")
    system.forgets()
    assert "path=/transcribe/micro status=499" in system.gateway.log


@pytest.mark.parametrize("chunked", [False, True], ids=["by its length", "by its bytes"])
def test_an_upload_over_the_limit_is_answered_413_and_the_client_sees_it(
    system: System, chunked: bool
) -> None:
    body = HEAD + bytes(12_000_000) + TAIL
    pieces = (body[start : start + 65536] for start in range(0, len(body), 65536))
    answer = requests.post(
        f"{system.gateway.url}/transcribe/micro",
        data=pieces if chunked else body,
        headers={
            "Authorization": f"Bearer {KEY}",
            "Content-Type": "multipart/form-data; boundary=b",
        },
        timeout=PATIENCE,
    )
    assert answer.status_code == 413
    assert answer.json()["error"]["code"] == "file_too_large"
    system.forgets()


@pytest.mark.parametrize(
    ("file", "code"),
    [(b"", "invalid_audio"), (b"Good morning." * 1000, "unsupported_media_type")],
    ids=["empty", "text"],
)
def test_a_file_without_sound_is_refused_and_not_kept(
    system: System, file: bytes, code: str
) -> None:
    answer = system.post(file)
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, code)
    system.forgets()


def test_a_killed_worker_is_told_as_such_and_a_new_one_is_used_at_once(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        upload = system.begin(LONG[: len(LONG) // 2], len(HEAD + LONG + TAIL))
        until(lambda: system.stored_uploads() == 1, "the worker had half of the upload")
        system.worker.process.kill()
        system.worker.process.wait()
        upload.send(LONG[len(LONG) // 2 :] + TAIL)
        lost = upload.getresponse()
        assert lost.status == 502
        assert b'"code":"worker_unavailable"' in lost.read()
        upload.close()

        unreachable = system.post(SPEECH)
        assert unreachable.status_code == 503
        assert unreachable.json()["error"]["code"] == "worker_unavailable"
        assert int(unreachable.headers["retry-after"]) >= 1
        health = requests.get(f"{system.gateway.url}/health", timeout=PATIENCE)
        assert (health.status_code, health.json()["gateway"]) == (503, "ok")
        assert health.json()["model"]["status"] == "unreachable"

        settings = worker_settings(
            WHISPER_TEMP_DIR=system.uploads, SERVICE_PORT=urlsplit(system.worker.url).port
        )
        with service("worker", tmp_path / "second.log", **settings) as second:
            System(second, system.gateway, system.uploads).forgets()


def test_a_hung_worker_is_given_up_and_used_again_when_it_moves(tmp_path: Path) -> None:
    with running(tmp_path, gateway={"MODEL_TIMEOUT": 0.5}) as system:
        system.worker.process.send_signal(signal.SIGSTOP)
        try:
            hung = system.post(SPEECH)
        finally:
            system.worker.process.send_signal(signal.SIGCONT)
        assert (hung.status_code, hung.json()["error"]["code"]) == (504, "worker_timeout")
        until(lambda: system.gateway.answers("/readyz"), "the gateway used the worker again")


def test_a_stop_lets_running_requests_end(tmp_path: Path) -> None:
    with running(tmp_path) as system:
        half = len(SPEECH) // 2
        upload = system.begin(SPEECH[:half], len(HEAD + SPEECH + TAIL))
        until(lambda: system.stored_uploads() == 1, "the worker had half of the upload")
        for stopped in (system.gateway, system.worker):
            stopped.process.terminate()
            until(lambda: "Shutting down" in stopped.log, "it was stopping")  # noqa: B023
        upload.send(SPEECH[half:] + TAIL)
        answer = upload.getresponse()
        assert (answer.status, json.loads(answer.read())) == (200, SPOKEN)
        upload.close()
        assert [system.gateway.process.wait(), system.worker.process.wait()] == [0, 0]


@contextmanager
def small_disk(folder: Path) -> Iterator[Callable[[], None] | None]:
    """Make `folder` hold 1 MB at most: a file system of that size, or else a limit on files.

    Gives what a service's process has to do before it starts.
    """
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode == 0:
        try:
            yield None
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    else:
        yield lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1024**2, 1024**2))


def _is_empty(disk: Path) -> bool:
    state = os.statvfs(disk)
    return state.f_bfree == state.f_blocks


def test_a_full_disk_is_507_and_the_next_upload_that_fits_is_taken(tmp_path: Path) -> None:
    uploads = tmp_path / "uploads"
    uploads.mkdir()
    with small_disk(uploads) as limit, running(tmp_path, limit=limit) as system:
        for full in (system.post(LONG), system.post_pieces([bytes(1_000_000)] * 100)):
            assert (full.status_code, full.json()["error"]["code"]) == (507, "storage_full")
        system.forgets()
        # The gateway keeps a file itself until it knows its model.
        model = ("model", (None, "micro"))
        full = system.post_to_v1([("file", LONG), model])
        assert (full.status_code, full.json()["error"]["code"]) == (507, "storage_full")
        assert full.headers["x-request-id"] not in system.worker.log
        assert system.post_to_v1([("file", SPEECH), model]).json()["text"] == SPOKEN["text"]
        if limit is not None:
            return
        until(lambda: _is_empty(uploads), "the disk was empty again")
        with suppress(OSError), (uploads / "filler").open("wb", buffering=0) as filler:
            while filler.write(bytes(4096)):
                pass
        for full in (
            system.post_pieces([bytes(100)]),
            system.post_to_v1([("file", bytes(100)), model]),
        ):
            assert (full.status_code, full.json()["error"]["code"]) == (507, "storage_full")
        (uploads / "filler").unlink()
        until(lambda: _is_empty(uploads), "the disk was empty again")
