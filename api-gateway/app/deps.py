"""What the routes share: the settings, the worker, and which model a public name stands for."""

from fastapi import Request

from .errors import InvalidRequest, ModelNotFound
from .settings import Settings
from .wire import Options
from .worker import Worker


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
    request.state.log["model"] = name
    model = name if name in settings.allowed_models else settings.aliases.get(name)
    if model is None:
        message = f"The model '{name}' does not exist or you do not have access to it."
        raise ModelNotFound(message, param="model")
    return model


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
