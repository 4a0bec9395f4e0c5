"""The process in which strangers' files are decoded: it waits, and forks one child for each file.

It runs as `python -c "...; main(fd)"`, started by `cage.py`, with libav loaded but without any of the
worker's secrets, models or memory. The parent sends a job with two open files (the upload and a channel)
over a socket; a child with its hands tied decodes the one into the other and ends. Nobody waits for a
child in vain: the parent closes a channel and its child is killed; the parent ends and all of them end.

On a channel each message is one letter and its body: T (from this process) the job is taken, H header
(JSON), B block (float32 samples), E end (JSON), X a refusal (JSON). A channel that closes without E or X
belonged to a child that died.
"""

import contextlib
import io
import json
import os
import select
import signal
import socket
import sys
import traceback
import wave
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, NoReturn

# libav's wrapper imports these when it first meets a subtitle, and a child can no longer open a file.
import av.subtitles.codeccontext
import av.subtitles.stream  # noqa: F401

from ..errors import Overloaded, ServiceError
from .confinement import (
    be_the_first_to_go,
    die_with_parent,
    has_system_call_filter,
    leave_network,
    limit_resources,
    refuse_system_calls,
)
from .reader import AudioReader

JOB_BYTES = 4096
HIGHEST_FILE = 65536


@dataclass
class Zygote:
    """Forks children and watches over them; single-threaded, so that forking is safe."""

    control: socket.socket
    channels: dict[int, socket.socket | None] = field(default_factory=dict)
    """The child's end of each channel, by the child's process id; None once it has been killed."""

    def run(self) -> None:
        """Take jobs until the parent closes its end or dies."""
        # Signals sent to a whole group are for the parent to judge: running work may be let finish.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        wake, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        while True:
            poll = select.poll()
            poll.register(wake, select.POLLIN)
            poll.register(self.control, select.POLLIN)
            by_file = {channel.fileno(): pid for pid, channel in self.channels.items() if channel}
            for number in by_file:
                poll.register(number, 0)
            for number, _ in poll.poll():
                if number == wake.fileno():
                    wake.recv(4096)
                elif number in by_file:
                    self._kill(by_file[number])
                elif not self._take_job():
                    return
            self._bury()

    def _take_job(self) -> bool:
        message, files, _, _ = socket.recv_fds(self.control, JOB_BYTES, 2)
        if not message:
            return False
        upload, number = files
        channel = socket.socket(fileno=number)
        zygote = os.getpid()
        with contextlib.suppress(OSError):  # who does not wait any more is told nothing
            channel.send(b"T")
        try:
            child = os.fork()
        except OSError:
            with channel, contextlib.suppress(OSError):
                channel.send(_refusal(Overloaded("There is no room for another decoder")))
        else:
            if child == 0:
                _child(zygote, json.loads(message), upload, channel)
            self.channels[child] = channel
        os.close(upload)
        return True

    def _kill(self, child: int) -> None:
        """End a child whose reader has left; it may be busy, so it is not asked."""
        os.kill(child, signal.SIGKILL)
        channel = self.channels[child]
        if channel:
            channel.close()
        self.channels[child] = None

    def _bury(self) -> None:
        while self.channels:
            child, status = os.waitpid(-1, os.WNOHANG)
            if child == 0:
                return
            channel = self.channels.pop(child)
            if channel is None:
                continue
            if status != 0:
                _say(f"a decoder died of its file: {_told(status)}")
            channel.close()


def _child(zygote: int, job: dict[str, Any], upload: int, channel: socket.socket) -> NoReturn:
    """Tie the hands, then decode; never return into the zygote's code."""
    status = 1
    try:
        die_with_parent(zygote)
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        _close_all_but({0, 1, 2, upload, channel.fileno()})
        limit_resources(memory_bytes=job["memory_bytes"], cpu_seconds=job["cpu_seconds"])
        refuse_system_calls()
        _decode(upload, channel, job["max_seconds"])
        status = 0
    except ConnectionError:
        status = 0  # the parent reads no more
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _close_all_but(kept: set[int]) -> None:
    # Another file's channel held open here would outlive that file's child.
    for before, after in pairwise(sorted(kept | {HIGHEST_FILE})):
        os.closerange(before + 1, after)


def _decode(upload: int, channel: socket.socket, max_seconds: float) -> None:
    try:
        with (
            os.fdopen(upload, "rb") as file,
            AudioReader(file, max_seconds=max_seconds) as reader,
        ):
            channel.send(_message(b"H", duration=reader.duration))
            for block in reader.blocks():
                channel.send(b"B" + block.tobytes())
            channel.send(_message(b"E", truncated=reader.truncated))
    except ServiceError as error:
        channel.send(_refusal(error))


def _told(status: int) -> str:
    """How a child ended, of what `waitpid` says."""
    if os.WIFSIGNALED(status):
        return signal.Signals(os.WTERMSIG(status)).name
    return f"exit status {os.waitstatus_to_exitcode(status)}"


def _say(text: str) -> None:
    """Tell the log, where there still is one: a full disk behind it must not end the other files' decoders."""
    with contextlib.suppress(OSError, ValueError):
        print(text, file=sys.stderr, flush=True)


def _refusal(error: ServiceError) -> bytes:
    return _message(b"X", error=type(error).__name__, message=error.message, param=error.param)


def _message(kind: bytes, **body: Any) -> bytes:
    return kind + json.dumps(body).encode()


def _load_everything() -> None:
    """Decode a silent second, since a child can no longer open what is imported at first use."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((2, 2, 44100, 0, "NONE", ""))
        writer.writeframes(bytes(4 * 44100))
    with AudioReader(file, max_seconds=2) as reader:
        list(reader.blocks())


def main(control: int) -> None:
    """Serve the parent at the other end of the socket `control` (a file number)."""
    if not has_system_call_filter():
        _say("files are decoded without a system call filter: this kernel or processor has none")
    leave_network()
    be_the_first_to_go()
    _load_everything()
    Zygote(socket.socket(fileno=control)).run()
    sys.exit(0)
