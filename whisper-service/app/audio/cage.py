"""Decoding in a cage: libav runs in a process of its own, so that a hostile file ends at most itself.

`Cage` starts one process (`zygote.py`) that forks a confined child for each file. What comes back is plain
bytes with a length, never pickled objects: a child that has been taken over can only send samples. A child
that crashes, exceeds its limits or falls silent makes its own file invalid and touches nothing else.
"""

import contextlib
import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from ..errors import (
    AudioTooLong,
    AudioTooShort,
    InvalidAudio,
    Overloaded,
    ServiceError,
    UnsupportedMedia,
)
from .reader import SAMPLE_RATE, AudioReader, Samples

log = logging.getLogger(__name__)

MEMORY_BYTES = 1024**3
"""Address space of a child; what it really uses is some 30 MB."""
CPU_SECONDS = 30
CPU_SHARE = 0.02
"""Processor time of a child: so much, and this share of the longest audio."""
SILENCE_SECONDS = 60.0
"""How long a child may say nothing while it is waited for: a block takes it milliseconds, and one that
sleeps uses no processor time. Twice CPU_SECONDS, so that a busy machine is not taken for a hung child."""
MESSAGE_BYTES = 256 * 1024
"""More than one block of samples."""

STOP_SECONDS = 5
LOST_SECONDS = 0.2
"""How long after a channel has closed the process that forks may take to be seen dead."""

_SERVICE = Path(__file__).parents[2]
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from app.audio.zygote import main; main(int(sys.argv[2]))"
)
_ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH")
_REFUSALS: dict[str, type[ServiceError]] = {
    error.__name__: error
    for error in (AudioTooLong, AudioTooShort, InvalidAudio, Overloaded, UnsupportedMedia)
}


class Cage:
    """Decodes files in children of one process. A context manager; may be used from many threads.

    Outside Linux there is no cage: files are decoded in this process, and the log says so.
    """

    def __init__(
        self,
        *,
        memory_bytes: int = MEMORY_BYTES,
        cpu_seconds: int = CPU_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        """Start the process at once, so that no request waits for it."""
        self._memory_bytes = memory_bytes
        self._cpu_seconds = cpu_seconds
        self._silence_seconds = silence_seconds
        self._lock = threading.Lock()
        self._closed = False
        self._is_caging = sys.platform == "linux"
        if self._is_caging:
            self._start()
        else:
            log.warning("files are decoded without a cage: that needs Linux")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def pid(self) -> int:
        """The id of the process that forks."""
        return self._process.pid

    def open(
        self,
        file: BinaryIO,
        *,
        max_seconds: float,
        started: "Callable[[CagedAudio], None]" = lambda _: None,
    ) -> "CagedAudio | AudioReader":
        """Open `file`, which must be a real one (with a file number), in a new child.

        `started` is called with each child before it is waited for, so that it can be closed meanwhile.
        Raises what AudioReader raises; InvalidAudio also when the child does not survive the file.
        """
        if not self._is_caging:
            return AudioReader(file, max_seconds=max_seconds)
        file.flush()
        try:
            return self._open(file, max_seconds, started)
        except _ZygoteLost:
            # Perhaps it had ended before this file came.
            return self._open(file, max_seconds, started)

    def close(self) -> None:
        """End the process and all its children."""
        with self._lock:
            if self._is_caging and not self._closed:
                self._stop()
            self._closed = True

    def _open(
        self, file: BinaryIO, max_seconds: float, started: "Callable[[CagedAudio], None]"
    ) -> "CagedAudio":
        """Send the file to a new child, and wait for what it says first."""
        job = {
            "max_seconds": max_seconds,
            "memory_bytes": self._memory_bytes,
            "cpu_seconds": self._cpu_seconds + int(min(max_seconds, 1e6) * CPU_SHARE),
        }
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * MESSAGE_BYTES)
        with theirs:
            try:
                process = self._send(json.dumps(job).encode(), [file.fileno(), theirs.fileno()])
            except BaseException:
                ours.close()
                raise
        audio = CagedAudio(ours, process, max_seconds, self._silence_seconds)
        try:
            started(audio)
            audio.begin()
        except BaseException:
            audio.close()
            raise
        return audio

    def _send(self, job: bytes, files: list[int]) -> "subprocess.Popen[bytes]":
        """Send a job to the process that forks, to another one if it has ended; return which."""
        with self._lock:
            if self._closed:
                raise ServiceError("The decoder has been closed")
            try:
                socket.send_fds(self._control, [job], files)
            except OSError:
                log.warning("the decoder process is lost; starting another")
                self._stop()
                self._start()
                socket.send_fds(self._control, [job], files)
            return self._process

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            arguments = ["-P", "-c", _START, str(_SERVICE), str(theirs.fileno())]
            self._process = subprocess.Popen(  # noqa: S603 - every argument is ours
                [sys.executable, *arguments],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                # No secret goes there; and threads of numpy would make forking unsafe.
                env={name: os.environ[name] for name in _ENVIRONMENT if name in os.environ}
                | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"},
            )

    def _stop(self) -> None:
        self._control.close()
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class CagedAudio:
    """One file being decoded in a child; the same interface as AudioReader's."""

    def __init__(
        self,
        channel: socket.socket,
        zygote: "subprocess.Popen[bytes]",
        max_seconds: float,
        silence_seconds: float,
    ) -> None:
        self.seconds = 0.0
        """Seconds received so far."""
        self.truncated = False
        """Whether the end of the audio is missing; known after the last block."""
        self.duration: float | None = None
        """Seconds that the container's header promises; None when it says nothing."""
        self.silence_seconds = silence_seconds
        """How long the child may say nothing while it is waited for."""
        self._channel = channel
        self._zygote = zygote
        self._max_seconds = max_seconds
        self._closed = False
        self._in_use = threading.Lock()
        """Held while the channel is read: its number must not become another file's meanwhile."""

    def begin(self) -> None:
        """Wait for the header; raises as `Cage.open` says."""
        header = self._receive()
        if header[:1] != b"H":
            raise self._failure(header)
        duration = json.loads(header[1:])["duration"]
        self.duration = None if duration is None else float(duration)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Kill the child if it still runs. From another thread, it ends `blocks` at once."""
        self._closed = True
        with contextlib.suppress(OSError):
            # Who waits for the child wakes up, and the zygote sees that nobody reads any more.
            self._channel.shutdown(socket.SHUT_RDWR)
        with self._in_use:
            self._channel.close()

    def blocks(self) -> Iterator[Samples]:
        """Yield and raise as AudioReader.blocks does; the child is at most a few blocks ahead."""
        while True:
            message = self._receive()
            match message[:1]:
                case b"B":
                    samples = np.frombuffer(message, np.float32, offset=1)
                    self.seconds += len(samples) / SAMPLE_RATE
                    if self.seconds > self._max_seconds:
                        raise InvalidAudio("The decoder sent more than it may", param="file")
                    yield samples
                case b"E":
                    self.truncated = bool(json.loads(message[1:])["truncated"])
                    return
                case _ if self._closed:
                    return
                case _:
                    raise self._failure(message)

    def _receive(self) -> bytes:
        """Return the next message; nothing when there will be none."""
        try:
            with self._in_use:
                self._channel.settimeout(self.silence_seconds)
                message = self._channel.recv(MESSAGE_BYTES)
        except TimeoutError:
            log.warning("a decoder has said nothing for %g s; it is ended", self.silence_seconds)
            self.close()
            raise _damaged() from None
        except OSError:
            return b""
        return b"" if self._closed else message

    def _failure(self, message: bytes) -> ServiceError:
        """Tell a refusal, a child that has died, and the death of the process that forks apart."""
        if message[:1] == b"X":
            refusal: dict[str, Any] = json.loads(message[1:])
            return _REFUSALS[refusal["error"]](refusal["message"], param=refusal["param"])
        if self._closed:
            return ServiceError("The file was closed while it was opened")
        try:
            self._zygote.wait(LOST_SECONDS)
        except subprocess.TimeoutExpired:
            return _damaged()
        return _ZygoteLost("The decoder was lost; try again")


def _damaged() -> InvalidAudio:
    return InvalidAudio("The file is damaged: decoding it failed", param="file")


class _ZygoteLost(ServiceError):
    """The process that forks has ended, through no fault of this file as far as is known."""
