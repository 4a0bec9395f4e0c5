"""Who may use the gateway: one bearer key, compared in constant time."""

import logging
import re
from typing import Annotated

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from .edge import check_bearer
from .errors import InvalidKey, MissingKey
from .settings import PUBLISHED_KEY, Settings

log = logging.getLogger(__name__)
bearer = HTTPBearer(auto_error=False, description="The gateway's API_KEY")


class IncorrectKey(InvalidKey):
    """A wrong key on `/v1`, where the SDKs expect 401."""

    status = 401


async def require_key(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> None:
    """Refuse a request without the key; an empty API_KEY lets everybody in."""
    settings: Settings = request.app.state.settings
    try:
        check_bearer(given, settings.api_key)
    except (MissingKey, InvalidKey) as exc:
        # With who it was, so that guessing can be seen, and stopped by its address.
        client = request.client.host if request.client else "unknown"
        client = re.sub(r"[^0-9A-Za-z.:%]", "?", client)  # a proxy may have it from the client
        log.warning("id=%s client=%s %s", request.state.request_id, client, exc.message)
        raise


async def require_openai_key(
    request: Request, given: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]
) -> None:
    """The same key, refused as OpenAI does; clients look for these words."""
    try:
        await require_key(request, given)
    except MissingKey as exc:
        message = "You didn't provide an API key: send it as 'Authorization: Bearer YOUR_KEY'."
        raise MissingKey(message, headers=exc.headers) from exc
    except InvalidKey as exc:
        challenge = {"WWW-Authenticate": "Bearer"}
        raise IncorrectKey("Incorrect API key provided.", headers=challenge) from exc


def warn_if_open(settings: Settings) -> None:
    """Say loudly that nobody is asked for a key, or for one that everybody knows."""
    match settings.api_key.get_secret_value():
        case "":
            log.warning("API_KEY IS EMPTY: everybody who reaches this port can use the service")
        case key if key == PUBLISHED_KEY:
            log.warning("API_KEY IS THE PUBLISHED DEFAULT, which everybody knows: set your own")
