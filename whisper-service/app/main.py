"""The worker: a table of contents, and how it starts and stops."""

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from fastapi import FastAPI

from . import health, routes
from .audio import Cage
from .decoding.station import Station
from .edge import install_edge
from .logs import configure_logging
from .machine import usable_devices
from .models import Models
from .multipart import check_scratch
from .server import GatewaysProtocol, serve
from .setting_types import told
from .settings import Settings, load_settings
from .transcribe import Transcriber

log = logging.getLogger(__name__)

COMPUTING_NICE = 5
LOADING_SECONDS = 5.0
"""How long a stop waits for the model that is just being loaded."""


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the worker; models begin to load when it starts."""
    settings = settings or load_settings()

    def load(name: str, directory: Path) -> Station:
        return Station(name, directory, settings)

    models = Models(settings, load)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        loading = threading.Thread(target=_load_models, args=(models,), daemon=True)
        loading.start()
        try:
            with Cage() as cage:
                app.state.transcriber = Transcriber(settings, models, cage)
                yield
        finally:
            await asyncio.to_thread(models.close)
            await asyncio.to_thread(loading.join, LOADING_SECONDS)

    app = FastAPI(title="whisper-service", lifespan=lifespan)
    app.state.settings = settings
    app.state.models = models
    app.include_router(routes.router)
    app.include_router(health.router)
    install_edge(app)
    return app


def _load_models(models: Models) -> None:
    # The threads that compute are born of this one and inherit its priority: they may take every
    # core, but what answers comes first.
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), COMPUTING_NICE)
    if not models.load_all():
        log.critical("no model could be loaded; the worker ends")
        os.kill(os.getpid(), signal.SIGTERM)


def run() -> None:
    """Serve until told to stop; a wrong setting, or no model at all, ends with a non-zero status."""
    try:
        settings = load_settings()
        configure_logging(settings.log_level)
        usable_devices(settings)
        check_scratch(settings.whisper_temp_dir)
    except ValueError as exc:
        sys.exit(f"whisper-service cannot start: {told(exc)}")
    app = create_app(settings)
    serve(
        app,
        host=settings.service_host,
        port=settings.service_port,
        log_level=settings.log_level,
        protocol=GatewaysProtocol,
    )
    state = app.state.models.health()
    if state.pending or state.status == "stalled":
        # A download cannot be interrupted, only left; the next start begins it anew. Nor can a step that
        # hangs, for which the model's destructor would wait.
        logging.shutdown()
        os._exit(0)
    if not state.loaded_models:
        sys.exit(1)


def __getattr__(name: str) -> FastAPI:
    """Build `app` only for those who ask for it, as `uvicorn app.main:app` does."""
    if name != "app":
        raise AttributeError(name)
    return create_app()


if __name__ == "__main__":
    run()
