"""What a file says of its own size, against the bytes that are there."""

import io
import struct
from math import inf
from pathlib import Path

import pytest
from house import DATA
from hypothesis import example, given
from hypothesis import strategies as st
from worker.audio.extent import MOST_CHUNKS, missing_share

FILES = sorted(path for folder in ("formats", "long", "real") for path in (DATA / folder).iterdir())
MP3_FRAME = b"\xff\xfb\x90\x64"


def share(content: bytes) -> float:
    return missing_share(io.BytesIO(content))


def box(name: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(body), name) + body


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_whole_file_lacks_nothing(path: Path) -> None:
    assert share(path.read_bytes()) == 0.0


KNOWING = [path for path in FILES if path.suffix in {".wav", ".mp3", ".mkv", ".webm"}]


@pytest.mark.parametrize("path", KNOWING, ids=lambda path: path.name)
def test_half_a_file_lacks_as_much_as_it_has(path: Path) -> None:
    content = path.read_bytes()
    assert share(content[: len(content) // 2]) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("name", ["three.ogg", "three.opus"])
def test_an_ogg_file_may_end_only_where_a_page_does(name: str) -> None:
    content = (DATA / "formats" / name).read_bytes()
    last = content.rindex(b"OggS")
    assert share(content[:last]) == 0.0, "recorders that mark no page as the last one are many"
    for cut in (last + 6, last + 26, last + 30, len(content) - 1):
        assert share(content[:cut]) == inf
    assert share(content + b"TAG" + bytes(125)) == 0.0


def test_a_size_that_was_never_filled_in_says_nothing() -> None:
    wav = bytearray((DATA / "formats" / "three.wav").read_bytes()[:100_000])
    size = wav.index(b"data") + 4
    for placeholder in (0, 0xFFFFFFFF, 0xFFFFFFDB, 0x80000000, 0x7FFFFFFF, 0x7FFFF000, 0x7FFFEFD4):
        wav[size : size + 4] = struct.pack("<I", placeholder)
        assert share(wav) == 0.0
    for name in ("three.mkv", "three.webm"):
        content = bytearray((DATA / "formats" / name).read_bytes()[:20_000])
        size = content.index(b"\x18\x53\x80\x67") + 4
        assert share(content) > 1.0
        for unknown in (b"\x01" + b"\xff" * 7, b"\xff"):
            content[size : size + 8] = unknown.ljust(8, b"\xec")
            assert share(content) == 0.0
    mp3 = MP3_FRAME + bytes(32) + b"Info" + bytes(1000)
    assert share(mp3) == 0.0


@pytest.mark.parametrize("tags", [0, 1, 2])
def test_each_kind_of_first_frame_of_an_mp3_is_known(tags: int) -> None:
    # Its size is 200, in 7 bits a byte; what looks like a count in it is none.
    tag = (b"ID3\4\0\0" + bytes([0, 0, 1, 72]) + b"Info\0\0\0\2\xff").ljust(210, b"\0") * tags
    head, counted = len(tag), struct.pack(">I", 2000)
    for place in (9, 17, 32):
        for xing in (b"Xing\0\0\0\2", b"Info\0\0\0\x0f" + bytes(4)):
            frame = MP3_FRAME + bytes(place) + xing + counted
            assert share(tag + frame.ljust(1000, b"\0")) == (head + 2000) / (head + 1000) - 1
    vbri = MP3_FRAME + bytes(32) + b"VBRI" + bytes(6) + counted
    assert share(tag + vbri.ljust(500, b"\0")) == (head + 2000) / (head + 500) - 1
    assert share(tag + (MP3_FRAME + bytes(32) + b"Xing\0\0\0\1" + counted).ljust(99, b"\0")) == 0.0


def test_a_fragment_of_mp4_that_is_not_whole_leaves_the_end_unknown() -> None:
    start = box(b"ftyp", b"isom" + bytes(8)) + box(b"moov", bytes(500))
    whole = start + 3 * (box(b"moof", bytes(80)) + box(b"mdat", bytes(900)))
    assert share(whole) == 0.0
    assert share(whole[:-1]) == share(whole[:-950]) == inf
    assert share(whole[: -(900 + 8 + 80 + 8)]) == 0.0
    assert share(whole + b"rubbish of no format at all") == 0.0
    assert share((start + box(b"mdat", bytes(900)))[:-100]) == 0.0, "libav compares with the index"


def test_only_so_many_chunks_are_looked_at() -> None:
    hidden = (
        b"RIFF\0\0\0\0WAVE" + b"junk\0\0\0\0" * MOST_CHUNKS + b"data" + struct.pack("<I", 10**9)
    )
    assert share(hidden) == 0.0


STARTS = [
    b"RIFF\0\0\0\0WAVEfmt ",
    bytes.fromhex("726966662e91cf11a5d628db04c10000"),
    b"caff\0\1\0\0",
    bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c"),
    b"\0\0\0\x10ftypisom\0\0\0\0\0\0\0\x08moof",
    b"OggS\0\2",
    b"\x1aE\xdf\xa3",
    b"\x1aE\xdf\xa3\x80\x18\x53\x80\x67",
    b"ID3\4\0\x10\0\0\0\0",
    MP3_FRAME + bytes(32) + b"Xing\0\0\0",
    MP3_FRAME + bytes(32) + b"VBRI",
]


@given(start=st.sampled_from([b"", *STARTS]), junk=st.binary(max_size=300))
@example(start=b"", junk=b"ID3")
@example(start=b"\x1aE\xdf\xa3", junk=b"\0" + b"\xff" * 8)
def test_no_junk_makes_it_fail(start: bytes, junk: bytes) -> None:
    assert share(start + junk) >= 0.0


@given(path=st.sampled_from(KNOWING), data=st.data())
def test_no_cut_makes_it_fail(path: Path, data: st.DataObject) -> None:
    content = path.read_bytes()
    assert share(content[: data.draw(st.integers(0, 1000) | st.integers(0, len(content)))]) >= 0.0


def test_what_cannot_be_read_says_nothing() -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError("bad sector")

    assert missing_share(Failing(b"OggS")) == 0.0
