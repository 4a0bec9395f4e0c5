"""A request's body on the worker: its options, and its file on disk for as long as it is needed.

The file has no name (O_TMPFILE, or unlinked at once), so nothing is left behind however the
request or the process ends. Decoders need to seek: an m4a may have its index at the end.
"""

import asyncio
import errno
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from fastapi import Request

from .errors import InvalidAudio, InvalidRequest, StorageFull
from .multipart import Part, read_parts
from .wire import Options, read_options

WRITE_BYTES = 1024 * 1024


@dataclass(frozen=True)
class Upload:
    """A whole file, opened at its start, and what the request asks for; whoever holds it closes it."""

    file: BinaryIO
    size: int
    options: Options


async def receive_upload(request: Request, *, max_bytes: int, folder: Path | None) -> Upload:
    """Read a multipart request with one part `file` and option fields.

    Raises InvalidRequest and its children for what is wrong with the form, InvalidAudio for an
    empty file, FileTooLarge, StorageFull.
    """
    file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  (whoever holds the upload closes it)
    try:
        return await _receive(request, file, max_bytes)
    except BaseException:
        file.close()
        raise


async def _receive(request: Request, file: BinaryIO, max_bytes: int) -> Upload:
    fields: dict[str, str] = {}
    size: int | None = None
    async for part in read_parts(request, max_bytes):
        if part.name == "file":
            if size is not None:
                raise InvalidRequest("Send one file a request", param="file")
            size = await _store(part, file)
        elif part.name in fields:
            raise InvalidRequest(f"'{part.name}' was sent twice", param=part.name)
        else:
            fields[part.name] = await part.text()
    options = read_options(fields)
    if size is None:
        raise InvalidRequest("The part 'file' is missing", param="file")
    if size == 0:
        raise InvalidAudio("The file is empty", param="file")
    file.seek(0)
    return Upload(file, size, options)


async def _store(part: Part, file: BinaryIO) -> int:
    size = 0
    waiting = bytearray()
    try:
        async for piece in part.pieces:
            waiting += piece
            size += len(piece)
            if len(waiting) >= WRITE_BYTES:
                await asyncio.to_thread(file.write, bytes(waiting))
                waiting.clear()
        await asyncio.to_thread(_finish, file, bytes(waiting))
    except OSError as exc:
        if exc.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise StorageFull("The server has no room left for uploads") from exc
        raise
    return size


def _finish(file: BinaryIO, rest: bytes) -> None:
    file.write(rest)
    file.flush()
