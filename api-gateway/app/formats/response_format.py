"""The response formats, the same on every route that gives text."""

from typing import Literal, get_args

from ..errors import InvalidRequest

ResponseFormat = Literal["json", "text", "srt", "verbose_json", "vtt"]
RESPONSE_FORMATS: list[ResponseFormat] = list(get_args(ResponseFormat))
SUBTITLES: frozenset[ResponseFormat] = frozenset({"srt", "vtt"})


def read_response_format(name: str | None) -> ResponseFormat:
    """The format that a field names, json where it is unset; raises InvalidRequest for any other."""
    for known in RESPONSE_FORMATS:
        if known == ((name or "").strip() or "json"):
            return known
    message = f"response_format must be one of {', '.join(RESPONSE_FORMATS)}"
    raise InvalidRequest(message, param="response_format")
