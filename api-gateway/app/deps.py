"""What the routes share: the settings, the worker, and which model a public name stands for."""

from collections.abc import Mapping
from typing import Any

from fastapi import Request

from .errors import InvalidRequest, ModelNotFound, RemoteError
from .settings import Settings
from .uploads import Upload
from .wire import Options
from .worker import Worker

DEPENDENT = frozenset({"patience", "languages"})
"""Options that are right or wrong by others: by `beam_size`, and by `language` and `on_other_language`."""

SHOWN_CHARS = 200
"""Of a model's name, in the log and in the answer: a field may hold half a megabyte."""


def settings_of(request: Request) -> Settings:
    """The gateway's settings."""
    settings: Settings = request.app.state.settings
    return settings


def worker_of(request: Request) -> Worker:
    """The client of the worker."""
    worker: Worker = request.app.state.worker
    return worker


def resolve_model(request: Request, name: str) -> str:
    """Return the model that a name or an alias stands for; ModelNotFound when it may not be used."""
    settings = settings_of(request)
    shown = name if len(name) <= SHOWN_CHARS else f"{name[:SHOWN_CHARS]}..."
    request.state.log["model"] = shown
    model = name if name in settings.allowed_models else settings.aliases.get(name)
    if model is None:
        message = f"The model '{shown}' does not exist or you do not have access to it."
        raise ModelNotFound(message, param="model")
    return model


async def admit(request: Request, upload: Upload, model: str, options: Mapping[str, Any]) -> None:
    """Ask the worker before it gets the upload whether it would take it; raises why not.

    A value that a field behind the file may make right is not refused before that has been read; the
    answer to the upload says it then.
    """
    # Beside a Transfer-Encoding a length says nothing.
    size = None if "transfer-encoding" in request.headers else request.headers.get("content-length")
    try:
        await worker_of(request).admit(
            model, options, int(size) if size else None, request.state.request_id
        )
    except RemoteError as exc:
        if exc.param not in DEPENDENT or upload.is_read.is_set():
            raise


async def check_task(request: Request, model: str, options: Options) -> None:
    """Refuse to translate with a model that cannot, naming those that can.

    What a model can do is known once it is ready; the admission refuses those that are not.
    """
    if options.task != "translate":
        return
    ready = {i.id: i.tasks for i in await worker_of(request).models() if i.status == "ready"}
    if model in ready and "translate" not in ready[model]:
        able = {name for name, tasks in ready.items() if "translate" in tasks}
        others = sorted(able.intersection(settings_of(request).allowed_models))
        hint = f"; use {' or '.join(others)}" if others else ""
        raise InvalidRequest(f"The model '{model}' cannot translate{hint}", param="model")
