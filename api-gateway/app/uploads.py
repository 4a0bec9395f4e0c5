"""A client's multipart request, passed on to the worker as it arrives; no file is ever held here."""

import secrets
from collections.abc import AsyncIterator, Callable, Mapping

from fastapi import Request

from .errors import InvalidRequest
from .multipart import Part, read_parts


class Upload:
    """Fields on their way in, the file on its way through.

    Open it (`read_head`), and the fields that stand before the file are known. Then stream `body`
    to the worker: the file part as it arrives, and after it the options, since fields may follow
    the file too.
    """

    def __init__(
        self, request: Request, max_bytes: int, on_field: Callable[[str, str], None]
    ) -> None:
        """`on_field` takes each field's name and value, and raises for what it does not want."""
        self._parts = read_parts(request, max_bytes)
        self._on_field = on_field
        self._file: Part | None = None
        self._boundary = secrets.token_hex(16)

    @property
    def content_type(self) -> str:
        """Of `body`."""
        return f"multipart/form-data; boundary={self._boundary}"

    async def read_head(self) -> None:
        """Read the fields before the file; raises InvalidRequest when there is no file at all."""
        async for part in self._parts:
            if part.name == "file":
                self._file = part
                return
            self._on_field(part.name, await part.text())
        raise InvalidRequest("The part 'file' is missing", param="file")

    async def body(self, options: Callable[[], Mapping[str, str]]) -> AsyncIterator[bytes]:
        """Yield the worker's multipart body; `options` is asked once every field has been read."""
        if self._file is None:
            raise RuntimeError("read_head comes first")
        # The client's file name goes no further: the worker looks at the content.
        yield self._header('name="file"; filename="upload"')
        async for piece in self._file.pieces:
            yield piece
        async for part in self._parts:
            if part.name == "file":
                raise InvalidRequest("Send one file a request", param="file")
            self._on_field(part.name, await part.text())
        for name, value in options().items():
            yield b"\r\n" + self._header(f'name="{name}"') + value.encode()
        yield f"\r\n--{self._boundary}--\r\n".encode()

    def _header(self, disposition: str) -> bytes:
        return (
            f"--{self._boundary}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n"
        ).encode()
