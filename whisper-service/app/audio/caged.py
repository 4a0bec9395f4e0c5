"""One file being decoded in a child of the cage, as its reader sees it.

What comes back is plain bytes with a length, never pickled objects: a child that has been taken over can
only send samples. A child that crashes, exceeds its limits, falls silent or sends nonsense makes its own file
invalid and touches nothing else. `zygote.py` says what the messages are.
"""

import contextlib
import json
import logging
import math
import socket
import subprocess
import threading
from collections.abc import Iterator
from typing import Any

import numpy as np

from ..closing import Closing
from ..errors import (
    AudioTooLong,
    AudioTooShort,
    InvalidAudio,
    Overloaded,
    ServiceError,
    UnsupportedMedia,
)
from .reader import BLOCK_SECONDS, SAMPLE_RATE, Samples

log = logging.getLogger(__name__)

MESSAGE_BYTES = 256 * 1024
"""More than one block of samples."""
STOP_SECONDS = 5
LOST_SECONDS = 0.2
"""How long after a channel has closed the process that forks may take to be seen dead."""

_REFUSALS: dict[str, type[ServiceError]] = {
    error.__name__: error
    for error in (AudioTooLong, AudioTooShort, InvalidAudio, Overloaded, UnsupportedMedia)
}


class ZygoteLost(Overloaded):
    """The process that forks has ended, through no fault of this file as far as is known."""

    def __init__(self) -> None:
        super().__init__("The decoder was lost; try again")


class CagedAudio(Closing):
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

    def begin(self, answer_seconds: float) -> None:
        """Wait for a child, and for its header; raises as `Cage.open` says.

        A process that forks none within `answer_seconds` is killed: it would hold up every other file.
        """
        try:
            taken = self._receive(answer_seconds)
        except TimeoutError:
            log.error("the decoder process has taken no file for %g s; it is ended", answer_seconds)
            self._zygote.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._zygote.wait(STOP_SECONDS)
            raise ZygoteLost() from None
        if taken != b"T":
            raise self._failure(taken)
        header = self._message()
        if header[:1] != b"H":
            raise self._failure(header)
        self.duration = _duration(header)

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
        is_over = False
        while True:
            message = self._message()
            match message[:1]:
                case b"B":
                    samples = _samples(message)
                    if is_over or not len(samples):  # it could go on for ever, a sample a minute
                        raise _damaged()
                    is_over = len(samples) < BLOCK_SECONDS * SAMPLE_RATE
                    self.seconds += len(samples) / SAMPLE_RATE
                    if self.seconds > self._max_seconds:
                        raise InvalidAudio("The decoder sent more than it may", param="file")
                    yield samples
                case b"E":
                    with _nonsense_is_damage():
                        self.truncated = bool(json.loads(message[1:])["truncated"])
                    return
                case _ if self._closed:
                    return
                case _:
                    raise self._failure(message)

    def _message(self) -> bytes:
        """Return the child's next message; nothing when there will be none."""
        try:
            return self._receive(self.silence_seconds)
        except TimeoutError:
            log.warning("a decoder has said nothing for %g s; it is ended", self.silence_seconds)
            self.close()
            raise _damaged() from None

    def _receive(self, seconds: float) -> bytes:
        try:
            with self._in_use:
                self._channel.settimeout(seconds)
                message = self._channel.recv(MESSAGE_BYTES)
        except TimeoutError:
            raise
        except OSError:
            return b""
        return b"" if self._closed else message

    def _failure(self, message: bytes) -> ServiceError:
        """Tell a refusal, a child that has died, and the death of the process that forks apart."""
        if message[:1] == b"X":
            return _refusal(message)
        if self._closed:
            return ServiceError("The file was closed while it was opened")
        try:
            self._zygote.wait(LOST_SECONDS)
        except subprocess.TimeoutExpired:
            return _damaged()
        return ZygoteLost()


def _duration(message: bytes) -> float | None:
    with _nonsense_is_damage():
        told = json.loads(message[1:])["duration"]
        duration = None if told is None else float(told)
        if duration is not None and not 0 <= duration < math.inf:
            raise ValueError("no file is so long")
    return duration


def _samples(message: bytes) -> Samples:
    with _nonsense_is_damage():
        samples = np.frombuffer(message, np.float32, offset=1)
        # A window may share its batch with others': the model gets nothing huge or not a number.
        if not (np.abs(samples) <= 1).all():
            raise ValueError("no sample is so loud")
    return samples


def _refusal(message: bytes) -> ServiceError:
    with _nonsense_is_damage():
        refusal: dict[str, Any] = json.loads(message[1:])
        text, param = refusal["message"], refusal["param"]
        # A client can be told text alone, and no half characters.
        (text + ("" if param is None else param)).encode()
        return _REFUSALS[refusal["error"]](text, param=param)


@contextlib.contextmanager
def _nonsense_is_damage() -> Iterator[None]:
    """What no decoder of ours would send makes the file invalid, however reading it fails here."""
    try:
        yield
    except (ArithmeticError, LookupError, RecursionError, TypeError, ValueError) as error:
        raise _damaged() from error


def _damaged() -> InvalidAudio:
    return InvalidAudio("The file is damaged: decoding it failed", param="file")
