"""What stands between clients and the gateway: reverse proxies with a sub-path, browsers with CORS."""

from http import HTTPStatus

from fastapi import FastAPI, Response
from fastapi.middleware.cors import CORSMiddleware
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from .edge import error_response
from .errors import InvalidRequest
from .settings import Settings

EXPOSED_HEADERS = [
    "X-Request-ID",
    "X-Ignored-Params",
    "Retry-After",
    "x-should-retry",
    "openai-processing-ms",
]


class Cors(CORSMiddleware):
    """Refuses a preflight in the one shape of all errors."""

    def preflight_response(self, request_headers: Headers) -> Response:
        """Answer what a browser asks before it calls."""
        answer = super().preflight_response(request_headers)
        if answer.status_code == HTTPStatus.OK:
            return answer
        refusal = error_response(InvalidRequest(bytes(answer.body).decode()))
        refusal.headers["vary"] = answer.headers["vary"]
        return refusal


class RootPath:
    """ASGI middleware: serves below a path, whether the proxy has cut that path off or not."""

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app, self.root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            path = scope["path"]
            if not f"{path}/".startswith(f"{self.root_path}/"):
                path = self.root_path + path
            # In place: the log of what stands outside of this reads them too.
            scope["root_path"], scope["path"] = self.root_path, path
        await self.app(scope, receive, send)


def install_middleware(app: FastAPI, settings: Settings) -> None:
    """Serve below `ROOT_PATH` and let the pages of `CORS_ALLOW_ORIGINS` call, where they are set."""
    if settings.cors_allow_origins:
        app.add_middleware(
            Cors,
            allow_origins=settings.cors_allow_origins,
            allow_methods=["*"],
            # The headers asked for are named in the answer: `*` would not cover Authorization.
            allow_headers=["*"],
            # Browsers may ask for it before a public page calls an address of a private network.
            allow_private_network=True,
            expose_headers=EXPOSED_HEADERS,
            max_age=3600,
        )
    if settings.root_path:
        app.add_middleware(RootPath, root_path=settings.root_path)
