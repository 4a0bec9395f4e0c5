"""The gateway: a table of contents, and how it starts and stops."""

import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from .auth import warn_if_open
from .edge import install_edge
from .logs import configure_logging
from .middleware import install_middleware
from .multipart import check_scratch
from .routes import detect_language, health, openai, transcribe
from .server import serve
from .setting_types import told
from .settings import Settings
from .worker import Worker


def create_app(settings: Settings | None = None) -> FastAPI:
    """Build the gateway."""
    settings = settings or Settings()

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        warn_if_open(settings)
        async with Worker.connect(settings) as worker:
            app.state.worker = worker
            yield

    # Its pages of documentation need no network: hosts that keep recordings in often have none.
    app = FastAPIOffline(title="Transcription gateway", lifespan=lifespan)
    app.state.settings = settings
    app.state.started = int(time.time())
    app.include_router(transcribe.router)
    app.include_router(detect_language.router)
    app.include_router(openai.router)
    app.include_router(health.router)
    install_middleware(app, settings)
    install_edge(app)
    return app


def run() -> None:
    """Serve until told to stop; a wrong setting ends with a non-zero status."""
    try:
        settings = Settings()
        check_scratch()
    except ValueError as exc:
        sys.exit(f"api-gateway cannot start: {told(exc)}")
    configure_logging(settings.log_level)
    serve(
        create_app(settings),
        host=settings.api_gateway_host,
        port=settings.api_gateway_port,
        log_level=settings.log_level,
        trusted_proxies=settings.forwarded_allow_ips,
    )


def __getattr__(name: str) -> FastAPI:
    """Build `app` only for those who ask for it, as `uvicorn app.main:app` does."""
    if name != "app":
        raise AttributeError(name)
    return create_app()


if __name__ == "__main__":
    run()
