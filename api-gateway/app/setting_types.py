"""Kinds of settings that both services have.

The worker owns this file; the gateway holds a byte-for-byte copy, checked by a test.
"""

import re
from typing import Annotated, Any, Literal

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ByteSize,
    Field,
    SecretStr,
    ValidationError,
)
from pydantic_settings import NoDecode
from pydantic_settings.exceptions import SettingsError

_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def _split(value: Any) -> Any:
    if isinstance(value, str):
        return [name.strip() for name in value.split(",") if name.strip()]
    return value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _stripped(secret: SecretStr) -> SecretStr:
    given = secret.get_secret_value()
    if given and not given.strip():
        raise ValueError("is blank; set it to nothing where no secret is wanted")
    if _CONTROL.search(given.strip()):
        raise ValueError("has a line break or another control character inside")
    return SecretStr(given.strip())


def told(error: ValueError) -> str:
    """What is wrong with settings, in one line that names them as they are written."""
    if isinstance(error, SettingsError) and (field := re.search(r'field "(\w+)"', str(error))):
        return f"{field[1].upper()}: is not valid JSON"
    if not isinstance(error, ValidationError):
        return str(error)
    faults = []
    for fault in error.errors(include_url=False, include_input=False, include_context=False):
        name = ".".join(str(part) for part in fault["loc"]).upper()
        text = fault["msg"].removeprefix("Value error, ")
        faults.append(f"{name}: {text}" if name else text)
    return "; ".join(faults)


Names = Annotated[list[str], NoDecode, BeforeValidator(_split)]
"""A list, written with commas."""
LogLevel = Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)]
UploadLimit = Annotated[ByteSize, Field(gt=0)]
Secret = Annotated[SecretStr, AfterValidator(_stripped)]
"""What is shown in a header: without the line end that secrets from files have; nothing but blanks is refused, and what no header can hold."""
