"""Decoding in a cage: libav runs in a process of its own, so that a hostile file ends at most itself.

`Cage` starts one process (`zygote.py`) that forks a confined child for each file; `caged.py` reads what the
child sends.
"""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from ..closing import Closing
from ..errors import Overloaded, ServiceError
from .caged import MESSAGE_BYTES, STOP_SECONDS, CagedAudio, ZygoteLost
from .reader import AudioReader

log = logging.getLogger(__name__)

MEMORY_BYTES = 512 * 1024**2
"""Address space of a child: some 270 MB as it starts, of which it really uses 60. A small file can fill the rest
with an index of all its packets."""
CPU_SECONDS = 30
CPU_SHARE = 0.02
"""Processor time of a child: so much, and this share of the longest audio."""
SILENCE_SECONDS = 60.0
"""How long a child may say nothing while it is waited for: a block takes it milliseconds, and one that
sleeps uses no processor time. Twice CPU_SECONDS, so that a busy machine is not taken for a hung child."""
ANSWER_SECONDS = 30.0
"""How long the process that forks may take to take a file: a millisecond, after the second of processor
time in which it starts. One that takes longer hangs, and another is started."""

_SERVICE = Path(__file__).parents[2]
_START = (
    "import sys; sys.path.insert(0, sys.argv[1]); "
    "from app.audio.zygote import main; main(int(sys.argv[2]))"
)
_ENVIRONMENT = ("LANG", "LC_ALL", "LD_LIBRARY_PATH", "PYTHONHOME", "PYTHONPATH")


class Cage(Closing):
    """Decodes files in children of one process. A context manager; may be used from many threads.

    Outside Linux there is no cage: files are decoded in this process, and the log says so.
    """

    def __init__(
        self,
        *,
        memory_bytes: int = MEMORY_BYTES,
        cpu_seconds: int = CPU_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
        answer_seconds: float = ANSWER_SECONDS,
    ) -> None:
        """Start the process at once, so that no request waits for it."""
        self._memory_bytes = memory_bytes
        self._cpu_seconds = cpu_seconds
        self._silence_seconds = silence_seconds
        self._answer_seconds = answer_seconds
        self._lock = threading.Lock()
        self._closed = False
        self._is_caging = sys.platform == "linux"
        if self._is_caging:
            self._start()
        else:
            log.warning("files are decoded without a cage: that needs Linux")

    @property
    def pid(self) -> int:
        """The id of the process that forks."""
        return self._process.pid

    def open(
        self,
        file: BinaryIO,
        *,
        max_seconds: float,
        started: Callable[[CagedAudio], None] = lambda _: None,
    ) -> CagedAudio | AudioReader:
        """Open `file`, which must be a real one (with a file number), in a new child.

        `started` is called with each child before it is waited for, so that it can be closed meanwhile.
        Raises what AudioReader raises; InvalidAudio also when the child does not survive the file.
        """
        if not self._is_caging:
            return AudioReader(file, max_seconds=max_seconds)
        file.flush()
        try:
            return self._open(file, max_seconds, started)
        except ZygoteLost:
            # Perhaps it had ended, or hung, before this file came.
            return self._open(file, max_seconds, started)

    def close(self) -> None:
        """End the process and all its children."""
        with self._lock:
            if self._is_caging and not self._closed:
                self._stop()
            self._closed = True

    def _open(
        self, file: BinaryIO, max_seconds: float, started: Callable[[CagedAudio], None]
    ) -> CagedAudio:
        """Send the file to a new child, and wait for what it says first."""
        job = {
            "max_seconds": max_seconds,
            "memory_bytes": self._memory_bytes,
            "cpu_seconds": self._cpu_seconds + int(min(max_seconds, 1e6) * CPU_SHARE),
        }
        try:
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        except OSError as exc:  # as many open files as there may be
            raise Overloaded("There is no room for another decoder") from exc
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
            audio.begin(self._answer_seconds)
        except BaseException:
            audio.close()
            raise
        return audio

    def _send(self, job: bytes, files: list[int]) -> "subprocess.Popen[bytes]":
        """Send a job to the process that forks, to another one if it takes none; return which."""
        with self._lock:
            if self._closed:
                raise ServiceError("The decoder has been closed")
            try:
                socket.send_fds(self._control, [job], files)
            except OSError:
                log.warning("the decoder process is lost; starting another")
                self._process.kill()  # where it has not ended, it hangs
                self._stop()
                try:
                    self._start()
                except OSError as exc:  # as many processes as there may be, or no memory for one
                    raise Overloaded("There is no room for another decoder") from exc
                socket.send_fds(self._control, [job], files)
            return self._process

    def _start(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        # Where nobody takes them, jobs fill the socket: the next one must not be waited with for ever.
        self._control.settimeout(self._answer_seconds)
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
