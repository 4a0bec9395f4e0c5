"""A request's body on the worker: its options, and its file on disk for as long as it is needed.

The file has no name (O_TMPFILE, or unlinked at once), so nothing is left behind however the
request or the process ends. Decoders need to seek: an m4a may have its index at the end.
"""

import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from pydantic import ValidationError

from .errors import FileTooLarge, InvalidAudio, InvalidRequest
from .multipart import (
    MAX_LONG_FIELD_BYTES,
    let_go,
    missing_file,
    no_room,
    read_parts,
    scratch_file,
    store,
    too_large,
)
from .wire import Admission, Options, read_options, refused


@dataclass(frozen=True)
class Upload:
    """A whole file, opened at its start, and what the request asks for; whoever holds it closes it."""

    file: BinaryIO
    size: int
    options: Options
    came_at: float = field(default_factory=time.monotonic)
    """When the first of it came, on the monotonic clock."""

    @property
    def age(self) -> float:
        """Seconds since the first of it came."""
        return time.monotonic() - self.came_at


def check_size(size: int, *, max_bytes: int, folder: Path | None) -> None:
    """Raise FileTooLarge or StorageFull if a request of so many bytes would not be received now."""
    if size > max_bytes:
        raise too_large(max_bytes)
    with scratch_file(folder) as file:
        disk = os.fstatvfs(file.fileno())
    if size > disk.f_bavail * disk.f_frsize:
        raise no_room()


async def receive_upload(request: Request, *, max_bytes: int, folder: Path | None) -> Upload:
    """Read a multipart request with one part `file` and option fields.

    Raises InvalidRequest and its children for what is wrong with the form, InvalidAudio for an
    empty file, FileTooLarge, StorageFull.
    """
    file = scratch_file(folder)
    try:
        return await _receive(request, file, max_bytes)
    except BaseException:
        let_go(file)
        raise


async def _receive(request: Request, file: BinaryIO, max_bytes: int) -> Upload:
    came_at = time.monotonic()
    fields: dict[str, str] = {}
    others: list[str] = []
    size: int | None = None
    async for part in read_parts(request, max_bytes):
        if part.name == "file":
            if size is not None:
                raise InvalidRequest("Send one file a request", param="file")
            size = await store(part, file)
        elif part.filename is not None and part.name not in Options.model_fields:
            await part.discard()
            others.append(part.name)
        elif part.name in fields:
            raise InvalidRequest(f"'{part.name}' was sent twice", param=part.name)
        else:
            fields[part.name] = await part.text()
    if size is None:
        raise missing_file(others)
    options = read_options(fields | dict.fromkeys(others, ""))
    if size == 0:
        raise InvalidAudio("The file is empty", param="file")
    file.seek(0)
    return Upload(file, size, options, came_at)


async def read_admission(request: Request) -> Admission:
    """Read a JSON body; FastAPI would hold one of any size in memory, before it asks for the token.

    Raises InvalidRequest for what it is not, FileTooLarge.
    """
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_LONG_FIELD_BYTES:
            raise FileTooLarge(f"The body is larger than the limit of {MAX_LONG_FIELD_BYTES} bytes")
    try:
        return Admission.model_validate_json(bytes(body))
    except ValidationError as exc:
        raise refused(exc.errors()[0]) from exc
