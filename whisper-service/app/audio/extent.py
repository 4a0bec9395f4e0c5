"""How much of a file is missing, by what the file itself says of its size.

libav believes the bytes that are there: it plays what is left of a file that is cut off, and reports no
error. Here its size is compared with what the headers of WAV, AVI, AIFF, W64, CAF, ASF, Matroska and MP3 promise, and
with the last page of an Ogg file, the last fragment of an MP4. A few bytes are read, and only numbers are
taken from them. FLAC, AU, RF64 and MP4 with an index are left to their duration, which libav reads;
ADTS, AMR, AC-3, MPEG and live Matroska cannot know.
"""

import os
import re
from collections.abc import Iterator
from math import inf
from struct import Struct, error, unpack_from
from typing import BinaryIO, NamedTuple

STREAMED = 0x7F00_0000
"""From here on a size of 32 bits is what writers leave that cannot go back and fill it in: 0xFFFFFFFF
(FFmpeg), 0x7FFFF000 and 0x7F000008 (SoX), 0x80000000 (arecord), some less the header; 0 is harmless by itself."""
MOST_CHUNKS = 30_000
"""Chunks looked at: four hours of MP4 in fragments of a second, and an end to what zeros can cost."""
LONGEST_PAGE = 27 + 255 + 255 * 255


class Layout(NamedTuple):
    """How a format writes its chunks."""

    first: int
    """Where the first one begins."""
    header: Struct
    """Its name and its size."""
    counts_header: bool
    alignment: int
    sound: bytes
    """The name of the one with the samples."""


# Microsoft, "Multimedia Programming Interface and Data Specifications 1.0" (RIFF); Sony Pictures Digital,
# "Sony Wave64"; Apple, "Audio Interchange File Format" and "Core Audio Format Specification 1.0", whose size of
# -1 is unknown; Microsoft, "Advanced Systems Format Specification", where a stream's Data Object has the size
# of its header.
CHUNKED = {
    b"RIFF": Layout(12, Struct("<4sI"), False, 2, b"data"),
    b"FORM": Layout(12, Struct(">4sI"), False, 2, b"SSND"),
    b"riff": Layout(
        40, Struct("<16sq"), True, 8, bytes.fromhex("64617461f3acd3118cd100c04f8edb8a")
    ),
    b"caff": Layout(8, Struct(">4sq"), False, 1, b"data"),
    b"\x30\x26\xb2\x75": Layout(
        0, Struct("<16sq"), True, 1, bytes.fromhex("3626b2758e66cf11a6d900aa0062ce6c")
    ),
}
BOXES = Layout(0, Struct(">I4s"), True, 1, b"mdat")
"""ISO/IEC 14496-12, 4.2: the size comes first."""


def missing_share(file: BinaryIO) -> float:
    """Return how many bytes `file` (binary, seekable) lacks, in proportion to those that it has.

    0.0 where none is missing, or the file does not say; infinity where it ends amid a piece and nobody
    knows how many would follow. Never raises, whatever is in the file; leaves it anywhere.
    """
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        declared = _declared_size(file, size, file.read(8))
    except (OSError, IndexError, error):
        return 0.0  # what is not even a whole header says nothing
    return max(0.0, declared / max(1, size) - 1)


def behind_tags(file: BinaryIO) -> int:
    """Return where ID3 tags at the beginning of `file` end; 0 where there are none, or nothing behind them.

    Leaves the file anywhere.
    """
    at = 0
    for _ in range(8):  # some taggers add a tag before the one that is there
        file.seek(at)
        tag = file.read(10)
        if len(tag) < 10 or tag[:3] != b"ID3":
            break
        at += 20 if tag[5] & 0x10 else 10  # a footer repeats the header
        at += sum((byte & 0x7F) << 7 * (3 - place) for place, byte in enumerate(tag[6:10]))
    file.seek(at)
    return at if file.read(1) else 0


def _declared_size(file: BinaryIO, size: int, head: bytes) -> float:
    if head[:4] == b"RIFF" and file.read(4) == b"AVI ":
        (length,) = unpack_from("<I", head, 4)
        return 8 + length if length < STREAMED else 0.0
    if head[:4] in CHUNKED:
        layout = CHUNKED[head[:4]]
        return next((end for name, end in _chunks(file, layout, size) if name == layout.sound), 0)
    if head[4:] == b"ftyp":
        return _fragments(file, size)
    if head[:4] == b"OggS":
        return _pages(file, size)
    if head[:4] == b"\x1aE\xdf\xa3":
        return _matroska(file)
    return _mp3(file)


def _chunks(file: BinaryIO, layout: Layout, size: int) -> Iterator[tuple[bytes, int]]:
    """Yield each chunk's name and end, up to one that ends beyond the file."""
    at, header = layout.first, layout.header
    for _ in range(MOST_CHUNKS):
        file.seek(at)
        fields = header.unpack(file.read(header.size))
        name, length = fields if isinstance(fields[0], bytes) else fields[::-1]
        length += 0 if layout.counts_header else header.size
        if length < header.size or (header.size == 8 and length >= STREAMED):
            return
        yield name, at + length
        at += length + -length % layout.alignment
        if at + header.size > size:
            return


def _fragments(file: BinaryIO, size: int) -> float:
    """MP4 that is written while it is recorded: each fragment (moof, mdat) knows only itself."""
    names = set()
    for name, end in _chunks(file, BOXES, size):
        names.add(name)
        if end > size and name in (b"moof", b"mdat") and b"moof" in names:
            return inf
    return 0.0


def _pages(file: BinaryIO, size: int) -> float:
    """Ogg (RFC 3533, section 6): each page knows only itself.

    That no page is marked as the last one proves nothing: Android's MediaMuxer, Telegram, MuseScore and
    dumps of live streams mark none. A page that is not whole does.
    """
    file.seek(max(0, size - LONGEST_PAGE))
    tail = file.read(LONGEST_PAGE)
    page = tail[[match.start() for match in re.finditer(rb"OggS\0[\0-\7]", tail)][-1] :]
    length = 27
    if len(page) >= length:
        length += page[26] + sum(page[27 : 27 + page[26]])
    return inf if len(page) < length else 0.0


def _matroska(file: BinaryIO) -> float:
    """Matroska and WebM (RFC 8794, RFC 9559): the Segment, behind the EBML header, holds everything."""
    file.seek(4)
    file.seek(_ebml_size(file), os.SEEK_CUR)
    if file.read(4) != b"\x18\x53\x80\x67":
        return 0.0
    length = _ebml_size(file)
    return file.tell() + length if length else 0.0


def _ebml_size(file: BinaryIO) -> int:
    """Read a size of 1 to 8 bytes: the zeros before the first one tell how many. 0 where it is unknown."""
    first = file.read(1)[0]
    width = 9 - first.bit_length()
    most = (1 << 7 * width) - 1
    value = int.from_bytes(bytes([first]) + file.read(width - 1), "big") & most
    return 0 if width > 8 or value == most else value


def _mp3(file: BinaryIO) -> float:
    """MP3: a first frame without sound may count the bytes of all, as Xing's and Fraunhofer's encoders do.

    Sources: id3.org, "ID3v2.4 structure", 3.1; G. Windszus, "MPEG Audio Frame Header", 2.3 (CodeProject).
    """
    at = behind_tags(file)
    file.seek(at)
    frame = file.read(64)
    if frame[0] != 0xFF or frame[1] < 0xE0:
        return 0.0
    if frame[36:40] == b"VBRI":
        return at + float(unpack_from(">I", frame, 46)[0])
    tag = re.search(rb"Xing|Info", frame[:42])
    if tag is None:
        return 0.0
    flags = unpack_from(">I", frame, tag.end())[0]
    if not flags & 2:
        return 0.0
    return at + float(unpack_from(">I", frame, tag.end() + (8 if flags & 1 else 4))[0])
