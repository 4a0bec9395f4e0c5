"""A file from some place on: behind the tags at its beginning, or where the next of several in one begins."""

import io
import os
from typing import BinaryIO, cast

_FIRST_PAGE = b"OggS\0\2"
_PIECE_BYTES = 1 << 20


class Rest(io.RawIOBase):
    """A view of an open file that begins at `begin`; the file stays its owner's."""

    def __init__(self, file: "BinaryIO | Rest", begin: int) -> None:
        """Of a rest, the rest is one of the file itself."""
        whole, before = (file._file, file._begin) if isinstance(file, Rest) else (file, 0)
        self._file: BinaryIO = whole
        self._begin: int = before + begin
        whole.seek(self._begin)

    def readable(self) -> bool:
        """Whether it can be read."""
        return True

    def seekable(self) -> bool:
        """Whether it can be sought."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Read on."""
        return self._file.read(size)

    def tell(self) -> int:
        """Where it stands, from where the rest begins."""
        return self._file.tell() - self._begin

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Go there."""
        begin = self._begin if whence == os.SEEK_SET else 0
        return self._file.seek(offset + begin, whence) - self._begin


def rest_of(file: BinaryIO, begin: int) -> BinaryIO:
    """Return a file from `begin` on."""
    return cast("BinaryIO", Rest(file, begin))


def next_link(file: BinaryIO, at: int) -> BinaryIO | None:
    """Return the next of several Ogg files in one (RFC 3533, 4) behind the page at `at`; None where there is none."""
    file.seek(0)
    if not _FIRST_PAGE.startswith(file.read(4)):
        return None
    begin, held = at + 1, b""
    file.seek(begin)
    while piece := file.read(_PIECE_BYTES):
        held += piece
        if (found := held.find(_FIRST_PAGE)) >= 0:
            return rest_of(file, begin + found)
        kept = len(_FIRST_PAGE) - 1
        begin, held = begin + max(0, len(held) - kept), held[-kept:]
    return None
