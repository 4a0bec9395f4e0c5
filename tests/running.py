"""Real servers for tests: an app on a real socket in a thread, with the protocol that production uses."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import requests
import uvicorn
from fastapi import FastAPI
from gateway.main import create_app as create_gateway
from gateway.server import MAX_INCOMPLETE_EVENT_BYTES, DeadlineProtocol
from gateway.settings import Settings as GatewaySettings
from worker.main import create_app as create_worker
from worker.settings import Settings as WorkerSettings

KEY = "change-me"


@dataclass(frozen=True)
class Running:
    """A served app and where it is."""

    app: FastAPI
    url: str

    def post(self, path: str, key: str | None = KEY, **kwargs: object) -> requests.Response:
        """POST with the key (None sends no Authorization header)."""
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        headers |= kwargs.pop("headers", {})  # type: ignore[call-overload]
        return requests.post(self.url + path, headers=headers, timeout=120, **kwargs)  # type: ignore[arg-type]

    def get(self, path: str, key: str | None = None, **kwargs: object) -> requests.Response:
        """GET, without a key unless one is given."""
        headers = {"Authorization": f"Bearer {key}"} if key is not None else {}
        headers |= kwargs.pop("headers", {})  # type: ignore[call-overload]
        return requests.get(self.url + path, headers=headers, timeout=120, **kwargs)  # type: ignore[arg-type]


@contextmanager
def serve(app: FastAPI, protocol: type = DeadlineProtocol) -> Iterator[Running]:
    """Run `app` on a free port until the block ends."""
    config = uvicorn.Config(
        app,
        port=0,
        http=protocol,
        h11_max_incomplete_event_size=MAX_INCOMPLETE_EVENT_BYTES,
        log_config=None,
        timeout_graceful_shutdown=5,
    )
    server = uvicorn.Server(config)
    started = threading.Event()
    startup = server.startup

    async def announce(sockets: object = None) -> None:
        await startup(sockets)  # type: ignore[arg-type]
        started.set()

    server.startup = announce  # type: ignore[method-assign]
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        while not started.wait(0.1):
            assert thread.is_alive(), "the server ended before it had started"
        port = server.servers[0].sockets[0].getsockname()[1]
        yield Running(app, f"http://127.0.0.1:{port}")
    finally:
        server.should_exit = True
        thread.join()


@contextmanager
def serve_worker(**settings: object) -> Iterator[Running]:
    """A worker with the shipped model, once that is ready."""
    chosen = WorkerSettings.model_validate(
        {"whisper_models": ["micro"], "whisper_cpu_threads": 1, **settings}
    )
    with serve(create_worker(chosen)) as worker:
        ready = threading.Event()
        while worker.get("/readyz").status_code != 200:
            ready.wait(0.05)
        yield worker


@contextmanager
def serve_gateway(worker_url: str, **settings: object) -> Iterator[Running]:
    """A gateway before the worker at `worker_url`, which may use `micro`."""
    chosen = GatewaySettings.model_validate(
        {"model_url": worker_url, "allowed_models": ["micro"], **settings}
    )
    with serve(create_gateway(chosen)) as gateway:
        yield gateway
