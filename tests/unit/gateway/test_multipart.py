"""Multipart bodies cut anywhere, and broken in every way."""

import asyncio
import errno
import io
import os
import tempfile
import threading
from collections.abc import AsyncIterator
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
from fastapi import Request
from gateway.errors import FileTooLarge, InvalidRequest, Overloaded, ServiceError, StorageFull
from gateway.multipart import (
    MAX_FIELD_BYTES,
    MAX_LONG_FIELD_BYTES,
    let_go,
    read_parts,
    scratch_file,
    store,
)
from hypothesis import given
from hypothesis import strategies as st
from processes import printed_by
from starlette.types import Message, Receive

BODY = (
    b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nmicro\r\n'
    b'--b\r\nContent-Type: audio/wav\r\nContent-Disposition: form-data; name="file"; '
    b'filename="../x/\xc3\xa4.wav"\r\n\r\n\x00\r\n--bb\r\n\xff\r\n'
    b'--b\r\nContent-Disposition: form-data; name="language"\r\n\r\n\r\n--b--\r\n'
)
HEAD_OF_FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
PARTS = [
    ("model", None, b"micro"),
    ("file", "../x/\u00e4.wav", b"\x00\r\n--bb\r\n\xff"),
    ("language", None, b""),
]


def request(
    pieces: list[bytes],
    content_type: str = "multipart/form-data; boundary=b",
    receive: Receive | None = None,
) -> Request:
    waiting = [*pieces]

    async def receive_piece() -> Message:
        body = waiting.pop(0) if waiting else b""
        return {"type": "http.request", "body": body, "more_body": bool(waiting)}

    headers = [(b"content-type", content_type.encode())]
    return Request({"type": "http", "method": "POST", "headers": headers}, receive or receive_piece)


def read(pieces: list[bytes], max_bytes: int = 10_000) -> list[tuple[str, str | None, bytes]]:
    async def collect() -> list[tuple[str, str | None, bytes]]:
        return [
            (part.name, part.filename, b"".join([piece async for piece in part.pieces]))
            async for part in read_parts(request(pieces), max_bytes)
        ]

    return asyncio.run(collect())


@given(st.lists(st.integers(0, len(BODY)), max_size=12))
def test_the_parts_are_the_same_wherever_the_body_is_cut(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(BODY)]
    pieces = [BODY[start:end] for start, end in pairwise(edges)]
    assert read(pieces) == PARTS


@pytest.mark.parametrize(
    ("kind", "sent", "text"),
    [
        (None, "Zürich".encode(), "Zürich"),
        ("text/plain", "Zürich".encode(), "Zürich"),
        ("text/plain; charset=ISO-8859-1", "Zürich".encode("latin-1"), "Zürich"),
        ('text/plain; charset="windows-1252"', "5 €".encode("cp1252"), "5 €"),
        ("text/plain; charset=utf-16", "Zürich".encode("utf-16"), "Zürich"),
        ("text/plain; charset=US-ASCII", "Zürich".encode(), "Zürich"),
        ("text/plain; charset=idna", b"xn--zrich-kva", "xn--zrich-kva"),
        ("text/plain; charset=klingon", "Zürich".encode(), "Zürich"),
        (None, "\ufeffZürich".encode(), "Zürich"),
        ("text/plain; charset=iso_8859-15", "5 €".encode("iso8859-15"), "5 €"),
        ("text/plain; charset=a\0b", "Zürich".encode(), "Zürich"),
        ("text/plain; charset=\xff", "Zürich".encode(), "Zürich"),
    ],
)
def test_a_text_is_read_in_the_charset_that_it_declares(
    kind: str | None, sent: bytes, text: str
) -> None:
    declared = b"" if kind is None else b"Content-Type: " + kind.encode("latin-1") + b"\r\n"
    head = b'--b\r\nContent-Disposition: form-data; name="prompt"\r\n'

    async def prompt() -> str:
        body = head + declared + b"\r\n" + sent + b"\r\n--b--\r\n"
        async for part in read_parts(request([body]), 10_000):
            return await part.text()
        raise AssertionError

    assert asyncio.run(prompt()) == text


@given(st.integers(0, len(BODY) - 5))
def test_a_body_that_ends_early_is_refused(end: int) -> None:
    with pytest.raises(InvalidRequest):
        read([BODY[:end]])


def test_a_body_over_the_limit_is_refused_however_it_is_cut() -> None:
    with pytest.raises(FileTooLarge):
        read([BODY], max_bytes=100)
    with pytest.raises(FileTooLarge):
        read([BODY[i : i + 1] for i in range(len(BODY))], max_bytes=100)


@pytest.mark.parametrize(
    ("sizes", "refusal"),
    [
        ([2**24] * 4 + [2**19] * 4, None),
        ([2**24 + 1], "The field 'f0' is larger than 16777216 bytes"),
        ([2**24] * 4 + [2**20], "The fields are larger than 67108864 bytes together"),
        ([2**19 + 1], "The field 'f0' is larger than 524288 bytes"),
        ([2**19] * 4 + [1], "The fields are larger than 2097152 bytes together"),
    ],
)
def test_fields_are_held_in_memory_only_up_to_a_limit_for_each_and_for_all_of_its_kind(
    sizes: list[int], refusal: str | None
) -> None:
    """Those of 1 MiB or more are of the kind that may be large."""

    head = '--b\r\nContent-Disposition: form-data; name="f{}"\r\n\r\n'
    pieces = [head.format(n).encode() + bytes(size) + b"\r\n" for n, size in enumerate(sizes)]

    async def texts() -> list[int]:
        parts = read_parts(request([*pieces, b"--b--\r\n"]), 2**30)
        limits = [MAX_LONG_FIELD_BYTES if size >= 2**20 else MAX_FIELD_BYTES for size in sizes]
        return [len(await part.text(limits[int(part.name[1:])])) async for part in parts]

    if refusal is None:
        kept = [min(size, MAX_FIELD_BYTES) for size in sizes]
        assert asyncio.run(texts()) == kept, "of what is longer only the beginning"
    else:
        with pytest.raises(InvalidRequest, match=refusal):
            asyncio.run(texts())


def test_a_list_is_never_cut() -> None:
    whole = b'["' + bytes(2**20) + b'"]'
    head = b'--b\r\nContent-Disposition: form-data; name="f"\r\n\r\n'

    async def text() -> str:
        parts = read_parts(request([head + whole + b"\r\n--b--\r\n"]), 2**30)
        return await (await anext(parts)).text(MAX_LONG_FIELD_BYTES)

    with pytest.raises(InvalidRequest, match="larger than 524288 bytes"):
        asyncio.run(text())


@pytest.mark.parametrize(
    "head", [f"X: {'x' * 5000}", "\r\n".join(f"X-{n}: x" for n in range(9))], ids=["long", "many"]
)
def test_too_large_a_head_of_a_part_is_told_apart_from_a_malformed_body(head: str) -> None:
    with pytest.raises(InvalidRequest, match="more than 8 headers, or one of more than 4096 bytes"):
        read([f"--b\r\n{head}\r\n\r\nx\r\n--b--\r\n".encode()])


def test_a_compressed_body_is_told_to_be_sent_as_it_is() -> None:
    asked = request([BODY])
    asked.scope["headers"].append((b"content-encoding", b"gzip"))
    with pytest.raises(InvalidRequest, match="Content-Encoding"):
        asyncio.run(anext(read_parts(asked, 10_000)))  # type: ignore[arg-type]


@pytest.mark.parametrize("content_type", ["", "application/json", "multipart/form-data"])
def test_what_is_not_multipart_is_refused(content_type: str) -> None:
    async def first() -> AsyncIterator[object]:
        return await anext(read_parts(request([BODY], content_type), 10_000))  # type: ignore[return-value]

    with pytest.raises(InvalidRequest):
        asyncio.run(first())


def test_a_part_without_a_name_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        read([b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"])


@pytest.mark.parametrize(
    ("number", "refusal"), [(errno.ENOSPC, StorageFull), (errno.EMFILE, Overloaded)]
)
def test_a_file_that_cannot_be_made_is_no_fault_of_the_client(
    monkeypatch: pytest.MonkeyPatch, number: int, refusal: type[ServiceError]
) -> None:
    def none_left(dir: str) -> None:  # noqa: A002
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(tempfile, "TemporaryFile", none_left)
    with pytest.raises(refusal) as caught:
        scratch_file()
    assert caught.value.status in (503, 507)


def test_temporary_files_go_where_tmpdir_says_whatever_the_disk_was_like_at_first(
    tmp_path: Path,
) -> None:
    """In a process of its own, since Python looks once."""
    told = (
        "import os, tempfile; from app.multipart import scratch_file\n"
        "tempfile.tempdir = '/'  # where a full disk would have sent it for good\n"
        "with scratch_file() as file: print(os.readlink(f'/proc/self/fd/{file.fileno()}'))"
    )
    assert printed_by("gateway", told, TMPDIR=tmp_path).startswith(f"{tmp_path}/")


def test_a_client_that_sends_slowly_does_not_fill_the_memory() -> None:
    async def written() -> int:
        stalled = asyncio.Event()
        sent = iter([HEAD_OF_FILE, *[bytes(2**16)] * 14])

        async def receive() -> Message:
            if (body := next(sent, None)) is None:
                stalled.set()
                await asyncio.Event().wait()
            return {"type": "http.request", "body": body, "more_body": True}

        with tempfile.TemporaryFile() as file:
            part = await anext(read_parts(request([], receive=receive), 2**30))
            storing = asyncio.ensure_future(store(part, file))
            await stalled.wait()
            storing.cancel()
            await asyncio.wait({storing})
            return file.tell()

    assert asyncio.run(written()) >= 2**19


def test_files_are_closed_beside_the_event_loop() -> None:
    class Large(io.BytesIO):
        closed_by = 0

        def close(self) -> None:
            self.closed_by = threading.get_ident()

    async def close(file: Large) -> None:
        let_go(file)  # asyncio.run waits for its threads

    asyncio.run(close(file := Large()))
    assert file.closed_by != threading.get_ident()


def test_a_file_is_not_stored_in_the_last_room_of_a_disk_that_others_need(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    disk = SimpleNamespace(f_bavail=100, f_frsize=2**20, f_blocks=10_000)
    monkeypatch.setattr(os, "fstatvfs", lambda _: disk)
    body = [HEAD_OF_FILE, *[bytes(2**18)] * 12, b"\r\n--b--\r\n"]

    async def stored(reserve: int) -> int:
        with tempfile.TemporaryFile() as file:
            part = await anext(read_parts(request(body), 2**30))
            try:
                return await store(part, file, reserve=reserve)
            finally:
                assert reserve < 2**27 or os.fstat(file.fileno()).st_size == 0

    assert asyncio.run(stored(0)) == asyncio.run(stored(99 * 2**20)) == 12 * 2**18
    with pytest.raises(StorageFull):
        asyncio.run(stored(2**28))
