"""Multipart bodies read part by part as they arrive, so that no file is ever held in memory.

python-multipart parses; this turns its callbacks into an async iterator with back-pressure.
The worker owns this file; the gateway holds a byte-for-byte copy, checked by a test.
"""

import asyncio
import errno
import logging
import os
import tempfile
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from .errors import (
    FileTooLarge,
    InvalidRequest,
    MissingField,
    StorageFull,
    lacks_files,
    no_files_left,
)

log = logging.getLogger(__name__)

MAX_HEADERS, MAX_HEADER_BYTES = 8, 4096
"""Of a part; and of each of them."""
MAX_FIELD_BYTES = 512 * 1024
"""Of one field that is no file: the longest prompt has 100,000 characters, of up to four bytes."""
MAX_LONG_FIELD_BYTES = 16 * 1024 * 1024
"""Of a field that says so: speaker references travel as data URLs of several megabytes."""
LARGEST_FIELDS = 4
"""How many of the largest fields a request may have, or so much in smaller ones: they are held in memory."""
MAX_PARTS = 1000
CHARSETS = {
    **dict.fromkeys(("iso-8859-1", "iso8859-1", "latin1", "latin-1"), "iso8859-1"),
    **dict.fromkeys(("iso-8859-15", "iso8859-15", "latin-9"), "iso8859-15"),
    **dict.fromkeys(("windows-1252", "cp1252"), "cp1252"),
    **dict.fromkeys(("utf-16", "utf16"), "utf-16"),
}
"""That are read beside UTF-8 where a part declares them, as Apache's HTTP client for Java does of Latin-1.

Python's own list would remember each name that it has not, for ever.
"""
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
PIECE_BYTES = 256 * 1024
WRITE_BYTES = 256 * 1024
"""Of a file that are gathered before they are written; a client that sends slowly holds them in memory."""
TEMPORARY = Path(os.environ.get("TMPDIR") or "/tmp")  # noqa: S108 - the file has no name there
"""Where temporary files go. tempfile would take another folder for good if this one is full when it first looks."""


@dataclass
class Part:
    """One part: iterate over `pieces` for its bytes before asking for the next part."""

    name: str
    filename: str | None
    charset: str
    """Python's name of what its text is written in."""
    pieces: AsyncIterator[bytes]
    room: dict[int, int]
    """By how large a field may be: what may still come of the request's fields of that kind, in bytes."""

    async def discard(self) -> None:
        """Read past it, and hold nothing of it."""
        async for _ in self.pieces:
            pass

    async def text(self, max_bytes: int = MAX_FIELD_BYTES) -> str:
        """The value of a field; of a longer one than MAX_FIELD_BYTES, which no list is, only the beginning is kept.

        Raises InvalidRequest when it is too large, alone or with those before it, or not in its charset.
        """
        together = LARGEST_FIELDS * max_bytes
        self.room.setdefault(max_bytes, together)
        value, size, first = bytearray(), 0, b""
        async for piece in self.pieces:
            first = first or piece.lstrip()[:1]
            value += piece[: MAX_FIELD_BYTES - len(value)]
            size += len(piece)
            self.room[max_bytes] -= len(piece)
            most = MAX_FIELD_BYTES if first == b"[" else max_bytes
            if size > most:
                message = f"The field '{self.name}' is larger than {most} bytes"
                raise InvalidRequest(message, param=self.name)
            if self.room[max_bytes] < 0:
                message = f"The fields are larger than {together} bytes together"
                raise InvalidRequest(message, param=self.name)
        try:
            return value.decode(self.charset).removeprefix(
                "\ufeff"
            )  # of a file that an editor wrote
        except UnicodeDecodeError as exc:
            message = f"The field '{self.name}' is not {self.charset.upper()}"
            raise InvalidRequest(message, param=self.name) from exc


@dataclass
class _Parser:
    """python-multipart's callbacks, queued: a part's headers, its bytes, None for its end."""

    boundary: bytes
    queue: deque[dict[bytes, bytes] | bytes | None] = field(default_factory=deque)
    _headers: dict[bytes, bytes] = field(default_factory=dict)
    _name: bytes = b""
    _value: bytes = b""
    ended: bool = False

    def __post_init__(self) -> None:
        self.parser = MultipartParser(
            self.boundary,
            {
                "on_part_begin": self._headers.clear,
                "on_header_field": self._on_name,
                "on_header_value": self._on_value,
                "on_header_end": self._on_header_end,
                "on_headers_finished": lambda: self.queue.append(dict(self._headers)),
                "on_part_data": lambda data, start, end: self.queue.append(data[start:end]),
                "on_part_end": lambda: self.queue.append(None),
                "on_end": self._on_end,
            },
            max_header_count=MAX_HEADERS,
            max_header_size=MAX_HEADER_BYTES,
        )

    def _on_name(self, data: bytes, start: int, end: int) -> None:
        self._name += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _on_header_end(self) -> None:
        self._headers[self._name.lower()] = self._value
        self._name = self._value = b""

    def _on_end(self) -> None:
        self.ended = True


async def read_parts(request: Request, max_bytes: int) -> AsyncIterator[Part]:
    """Yield the parts of a multipart/form-data request in the order in which they were sent.

    `max_bytes` counts the whole body. Raises FileTooLarge beyond it, at once where Content-Length
    says so; InvalidRequest for a body that is not well-formed multipart.
    """
    check_length(request, max_bytes)
    if (request.headers.get("content-encoding") or "identity").lower() != "identity":
        raise InvalidRequest("A body with a Content-Encoding is not read: send it as it is")
    boundary = _boundary(request)
    stream = _limited(request.stream(), max_bytes)
    try:
        parser = _Parser(boundary)
    except FormParserError as exc:
        raise InvalidRequest("The boundary of the multipart body is too long") from exc

    async def more() -> bool:
        try:
            piece = await anext(stream, None)
            if piece is None:
                if not parser.ended:
                    raise InvalidRequest("The multipart body ends before its last boundary")
                return False
            for start in range(0, len(piece), PIECE_BYTES):
                parser.parser.write(piece[start : start + PIECE_BYTES])
        except FormParserError as exc:
            if "Maximum header" in str(exc):
                message = f"A part has more than {MAX_HEADERS} headers, or one of more than {MAX_HEADER_BYTES} bytes"
            else:
                message = "The body is not well-formed multipart/form-data"
            raise InvalidRequest(message) from exc
        return True

    async def pieces() -> AsyncIterator[bytes]:
        while True:
            while parser.queue:
                item = parser.queue.popleft()
                if item is None:
                    return
                if isinstance(item, bytes):
                    yield item
            await more()

    count = 0
    room: dict[int, int] = {}
    while True:
        while parser.queue:
            item = parser.queue.popleft()
            if isinstance(item, dict):
                count += 1
                if count > MAX_PARTS:
                    raise InvalidRequest(f"More than {MAX_PARTS} parts")
                yield _part(item, pieces(), room)
        if not await more() and not parser.queue:
            return


def scratch_file(folder: Path | None = None) -> BinaryIO:
    """Open a file without a name, in `folder` or where temporary files go; raises StorageFull, Overloaded."""
    try:
        return tempfile.TemporaryFile(dir=folder or TEMPORARY)
    except OSError as exc:
        if lacks_files(exc):
            raise no_files_left() from exc
        if exc.errno not in NO_ROOM:
            raise
        log.warning("no file can be made for an upload: %s", exc)
        raise no_room() from exc


def check_scratch(folder: Path | None = None) -> None:
    """Raise ValueError when no file could ever be made there; a disk that is full now may not stay so."""
    try:
        scratch_file(folder).close()
    except StorageFull:
        pass
    except OSError as exc:
        where = folder or TEMPORARY
        raise ValueError(f"Uploads cannot be stored in {where}: {exc.strerror}") from exc


async def store(part: Part, file: BinaryIO, *, reserve: int = 0) -> int:
    """Write a part to a file as it arrives, and leave `reserve` bytes of its disk free, a twentieth at most; returns its size.

    Raises StorageFull once the part has come to its end: a client that is still sending would not read the answer.
    """
    size = 0
    waiting = bytearray()
    try:
        async for piece in part.pieces:
            waiting += piece
            size += len(piece)
            if len(waiting) >= WRITE_BYTES:
                await asyncio.to_thread(_write, file, waiting, reserve)
                waiting = bytearray()
        await asyncio.to_thread(_finish, file, waiting)
    except OSError as exc:
        if exc.errno not in NO_ROOM:
            raise
        await asyncio.to_thread(
            os.ftruncate, file.fileno(), 0
        )  # the room that its beginning took is free for others
        await part.discard()
        raise no_room() from exc
    return size


def let_go(file: BinaryIO) -> None:
    """Close a file beside the event loop: to free the blocks of one without a name takes 0.2 s a GiB."""

    def close() -> None:
        with suppress(OSError):  # what a full disk has not taken is tried once more
            file.close()

    asyncio.get_running_loop().run_in_executor(None, close)


def _write(file: BinaryIO, piece: bytearray, reserve: int) -> None:
    disk = os.fstatvfs(file.fileno())
    if disk.f_bavail * disk.f_frsize < min(reserve, disk.f_blocks * disk.f_frsize // 20):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    file.write(piece)


def _finish(file: BinaryIO, rest: bytearray) -> None:
    file.write(rest)
    file.flush()


def check_length(request: Request, max_bytes: int) -> None:
    """Raise FileTooLarge when Content-Length already says so."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise too_large(max_bytes)


def _boundary(request: Request) -> bytes:
    kind, parameters = parse_options_header(request.headers.get("content-type"))
    boundary = parameters.get(b"boundary")
    if kind != b"multipart/form-data":
        raise InvalidRequest("Send multipart/form-data with a part named 'file'", param="file")
    if not boundary:
        # The usual mistake of web pages: `fetch` with a Content-Type of one's own.
        message = "The Content-Type has no boundary: leave that header to your HTTP client"
        raise InvalidRequest(message, param="file")
    return boundary


async def _limited(stream: AsyncIterator[bytes], max_bytes: int) -> AsyncIterator[bytes]:
    received = 0
    async for piece in stream:
        received += len(piece)
        if received > max_bytes:
            raise too_large(max_bytes)
        yield piece


def missing_file(others: Sequence[str]) -> MissingField:
    """What a form without a file is refused with; `others` are the names of files that it has."""
    came = f"; a file came as '{others[0]}'" if others else ""
    return MissingField(f"The part 'file' is missing{came}", param="file")


def no_room() -> StorageFull:
    """What an upload is refused with that finds no room on the disk."""
    return StorageFull("The server has no room left for uploads")


def too_large(max_bytes: int) -> FileTooLarge:
    """What an upload of more than `max_bytes` is refused with."""
    message = f"The upload is larger than the limit of {max_bytes} bytes"
    return FileTooLarge(message, param="file")


def _part(headers: dict[bytes, bytes], pieces: AsyncIterator[bytes], room: dict[int, int]) -> Part:
    _, options = parse_options_header(headers.get(b"content-disposition"))
    if b"name" not in options:
        raise InvalidRequest("A part of the multipart body has no name")
    filename = options.get(b"filename")
    return Part(
        name=options[b"name"].decode(errors="replace"),
        filename=None if filename is None else filename.decode(errors="replace"),
        charset=_charset(headers.get(b"content-type")),
        pieces=pieces,
        room=room,
    )


def _charset(content_type: bytes | None) -> str:
    """The charset that a part declares, where that is one of those taken."""
    _, parameters = parse_options_header(content_type)
    name = parameters.get(b"charset", b"").decode("latin-1")
    return CHARSETS.get(name.strip().lower().replace("_", "-"), "utf-8")
