"""A client's multipart request, passed on to the worker as it arrives; no file is held in memory."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from typing import BinaryIO, Protocol

from fastapi import Request

from .errors import InvalidRequest
from .multipart import PIECE_BYTES, Part, let_go, missing_file, read_parts, scratch_file, store

RESERVE = 256 * 1024 * 1024
"""Bytes that spooled files leave free on the disk, which is the host's."""


class Form(Protocol):
    """What a request's fields are told to."""

    def knows(self, name: str) -> bool:
        """Whether this is a field, and not just the name of something that is ignored or refused."""

    def max_bytes(self, name: str) -> int:
        """How large the field may be."""

    def add(self, name: str, value: str) -> None:
        """Take one field; raises for what it does not want."""


class Upload:
    """Fields on their way in, the file on its way through; whoever makes one closes it.

    Open it (`read_head`), and the fields that stand before the file are known. Then stream `body`
    to the worker: the file part as it arrives, and after it the options, since fields may follow
    the file too. Where a field after the file decides where it goes, `spool` it first.
    """

    def __init__(self, request: Request, max_bytes: int, form: Form) -> None:
        self._parts = read_parts(request, max_bytes)
        self._form = form
        self._file: Part | None = None
        self._spool: BinaryIO | None = None
        self._boundary = secrets.token_hex(16)
        self.is_read = asyncio.Event()
        """Set once nothing of the client's request is left to read."""

    @property
    def content_type(self) -> str:
        """Of `body`."""
        return f"multipart/form-data; boundary={self._boundary}"

    async def read_head(self) -> None:
        """Read the fields before the file; raises InvalidRequest when there is no file at all."""
        others: list[str] = []
        async for part in self._parts:
            if part.name == "file":
                self._file = part
                for name in others:
                    self._form.add(name, "")
                return
            if (value := await self._value(part)) is None:
                others.append(part.name)
            else:
                self._form.add(part.name, value)
        raise missing_file(others)

    async def spool(self) -> None:
        """Keep the file on disk, without a name, and read the fields that follow it."""
        self._spool = scratch_file()
        await store(self._opened(), self._spool, reserve=RESERVE)
        await self._read_tail()
        self._spool.seek(0)

    def close(self) -> None:
        """Give a spooled file's room back; more than once is the same as once."""
        if self._spool is not None:
            let_go(self._spool)

    async def body(self, options: Callable[[], Mapping[str, str]]) -> AsyncIterator[bytes]:
        """Yield the worker's multipart body; `options` is asked once every field has been read."""
        # The client's file name goes no further: the worker looks at the content.
        yield self._header('name="file"; filename="upload"')
        if self._spool is None:
            async for piece in self._opened().pieces:
                yield piece
            await self._read_tail()
        else:
            while piece := await asyncio.to_thread(self._spool.read, PIECE_BYTES):
                yield piece
            self.close()  # the text may take hours more
        for name, value in options().items():
            yield b"\r\n" + self._header(f'name="{name}"') + value.encode()
        yield f"\r\n--{self._boundary}--\r\n".encode()

    def _opened(self) -> Part:
        if self._file is None:
            raise RuntimeError("read_head comes first")
        return self._file

    async def _read_tail(self) -> None:
        async for part in self._parts:
            if part.name == "file":
                raise InvalidRequest("Send one file a request", param="file")
            self._form.add(part.name, await self._value(part) or "")
        self.is_read.set()

    async def _value(self, part: Part) -> str | None:
        """A field's value; None of a file that nobody asked for, which is passed over.

        Some clients give their fields file names.
        """
        if part.filename is None or self._form.knows(part.name):
            return await part.text(self._form.max_bytes(part.name))
        await part.discard()
        return None

    def _header(self, disposition: str) -> bytes:
        return (
            f"--{self._boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
        ).encode()
