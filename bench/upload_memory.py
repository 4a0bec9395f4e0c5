"""What a large upload costs the gateway: its resident memory and its disk while 1 GB flows through.

    PYTHONPATH=tests python bench/upload_memory.py [--megabytes 1000]

The file is a real one (silence, 192 kHz stereo in 32 bits), so that the request ends with its answer.
"""

import argparse
import http.client
import json
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from processes import Service, both_services
from report import report
from resident import peak, reset_peak, resident

KEY = "bench"
PIECE = 256 * 1024
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
TAIL = b"\r\n--b--\r\n"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=1000)
    size = parser.parse_args().megabytes * 1_000_000
    with both_services(KEY) as (_, gateway):
        upload(gateway.url, 1_000_000)  # what a first request imports and opens is not of interest
        rows = [measure(gateway, size, way) for way in ("Content-Length", "chunked")]
    report("upload_memory", rows, f"{size / 1e6:.0f} MB through the gateway")


def measure(gateway: Service, size: int, way: str) -> dict[str, str | float]:
    """Upload once; how far memory rose above what it was before, and what went to disk."""
    pid = gateway.process.pid
    reset_peak(pid)
    before, written_before = resident(pid), written(pid)
    began = time.perf_counter()
    sent = upload(gateway.url, size, with_length=way == "Content-Length")
    return {
        "sent with": way,
        "RSS before MB": before,
        "peak MB": peak(pid),
        "growth MB": peak(pid) - before,
        "written to disk KB": (written(pid) - written_before) / 1024,
        "upload MB/s": size / 1e6 / (sent - began),
        "answer after s": time.perf_counter() - began,
    }


def written(pid: int) -> int:
    """Bytes that the process has caused to be written to storage; its log is among them."""
    lines = Path(f"/proc/{pid}/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("write_bytes:"))


def upload(url: str, size: int, *, with_length: bool = True) -> float:
    """Send a file of `size` bytes and read its answer; when the last byte was sent."""
    sent = 0.0

    def body() -> Iterator[bytes]:
        nonlocal sent
        yield HEAD + wave_header(size)
        left, piece = size - 44, bytes(PIECE)
        while left > 0:
            yield piece[:left]
            left -= PIECE
        yield TAIL
        sent = time.perf_counter()

    connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=600)
    headers = {
        "Authorization": f"Bearer {KEY}",
        "Content-Type": "multipart/form-data; boundary=b",
        **(
            {"Content-Length": str(len(HEAD) + size + len(TAIL))}
            if with_length
            else {"Transfer-Encoding": "chunked"}
        ),
    }
    connection.request("POST", "/transcribe/micro", body(), headers, encode_chunked=not with_length)
    answer = connection.getresponse()
    text = answer.read()
    connection.close()
    if json.loads(text) != {"text": "", "language": None}:
        raise SystemExit(f"{answer.status}: {text.decode()}")
    return sent


def wave_header(size: int) -> bytes:
    """Of a WAVE file of `size` bytes in all: 192 kHz, stereo, 32 bits."""
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI", b"RIFF", size - 8, b"WAVE", b"fmt ", 16, 1, 2, 192_000,
        192_000 * 8, 8, 32, b"data", size - 44,
    )  # fmt: skip


if __name__ == "__main__":
    main()
