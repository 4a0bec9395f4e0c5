"""Real processes for tests: start one, read what it says, end it, and see that it is gone."""

import os
import select
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import house  # noqa: F401  (first: it gives the two services their names)
from gateway.settings import Settings as GatewaySettings
from house import ROOT
from worker.settings import Settings as WorkerSettings

PATIENCE = 120.0
"""Seconds after which a test is given up; nothing is expected to come near it."""
FOLDERS = {"worker": ROOT / "whisper-service", "gateway": ROOT / "api-gateway"}
PORTS = {"worker": "SERVICE_PORT", "gateway": "API_GATEWAY_PORT"}
SETTINGS = GatewaySettings.model_fields.keys() | WorkerSettings.model_fields.keys()


@dataclass
class Service:
    """A service as its own process; what it logs goes to a file."""

    process: subprocess.Popen[bytes]
    url: str
    log_file: Path

    @property
    def log(self) -> str:
        """Everything that it has logged so far."""
        return self.log_file.read_text()

    def answers(self, path: str) -> bool:
        """Whether `path` answers 200 now; fails the test if the process has ended."""
        assert self.process.poll() is None, f"it ended: {self.log}"
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(state: Callable[[], bool], what: str = "the state was reached") -> None:
    """Look again and again until `state` is true."""
    deadline = time.monotonic() + PATIENCE
    while not state():
        assert time.monotonic() < deadline, f"gave up before {what}"
        time.sleep(0.05)


@contextmanager
def without_settings(folder: Path) -> Iterator[None]:
    """Forget what somebody has set for their own services, in `.env` of a clone or in the shell."""
    before, set_before = Path.cwd(), {n: v for n, v in os.environ.items() if is_setting(n)}
    os.chdir(folder)
    for name in set_before:
        del os.environ[name]
    try:
        yield
    finally:
        os.chdir(before)
        os.environ.update(set_before)


def clean_environment(**settings: object) -> dict[str, str]:
    """This process' environment without anybody's settings, and with these."""
    env = {name: value for name, value in os.environ.items() if not is_setting(name)}
    return env | {name: str(value) for name, value in settings.items()}


def is_setting(name: str) -> bool:
    """Whether a variable tells one of the services, or the model hub's client, something."""
    return name.lower() in SETTINGS or name.startswith(("WHISPER_", "HF_"))


@contextmanager
def service(
    name: str,
    log_file: Path,
    *,
    ready: str | None = "/readyz",
    limit: Callable[[], None] | None = None,
    **settings: object,
) -> Iterator[Service]:
    """Run the service `name` until the block ends; it answers `ready` when the block begins.

    `limit` runs in the child before it starts, for resource limits.
    """
    port = settings.setdefault(PORTS[name], free_port())
    settings.setdefault("SERVICE_HOST", "127.0.0.1")
    settings.setdefault("API_GATEWAY_HOST", "127.0.0.1")
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "app.main"],
            cwd=FOLDERS[name],
            env=clean_environment(**settings),
            stdout=log,
            stderr=log,
            preexec_fn=limit,
        )
    running = Service(process, f"http://127.0.0.1:{port}", log_file)
    try:
        if ready:
            until(lambda: running.answers(ready), f"{name} was ready:\n{running.log}")
        yield running
    finally:
        process.terminate()
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise


def printed_by(name: str, code: str, **settings: object) -> str:
    """What `code` prints in a process of its own, in the folder of the service `name`."""
    run = subprocess.run(
        [sys.executable, "-c", code],
        cwd=FOLDERS[name],
        env=clean_environment(**settings),
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout


def worker_settings(**more: object) -> dict[str, object]:
    """What a worker with the shipped model needs."""
    return {"WHISPER_MODELS": "micro", "WHISPER_OFFLINE": "true", **more}


def gateway_settings(worker: Service, **more: object) -> dict[str, object]:
    """What a gateway before that worker needs."""
    return {"MODEL_URL": worker.url, "ALLOWED_MODELS": "micro", **more}


def children(pid: int) -> list[int]:
    """The processes that `pid` has started and that have not been buried."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@contextmanager
def both_services(key: str, **worker: object) -> Iterator[tuple[Service, Service]]:
    """A worker with the shipped model and the gateway before it, with their logs in a folder that goes with them."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with (
            service("worker", folder / "worker.log", **worker_settings(**worker)) as first,
            service(
                "gateway", folder / "gateway.log", **gateway_settings(first, API_KEY=key)
            ) as second,
        ):
            yield first, second


def descendants(pid: int) -> list[int]:
    """The processes that `pid` has started, and theirs."""
    return [found for child in children(pid) for found in (child, *descendants(child))]


def wait_for_end(process: int) -> None:
    """Wait until a process (a pidfd) has ended, which need not be ours, and close that."""
    ended, _, _ = select.select([process], [], [], PATIENCE)
    os.close(process)
    assert ended, "the process still runs"
