"""A file as blocks and windows: read in threads, a little ahead, with a clock for each part.

libav and the VAD block, so each step runs in a thread, the reading's own: a decoder that hangs holds it for
a minute, and no thread that others compute in. Closing a `Reading` ends its decoder at once, and with it
the step that waits for the decoder.
"""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, BinaryIO, TypeVar

from ..audio import SAMPLE_RATE, AudioReader, Cage, CagedAudio, Samples
from ..decoding.plan import vad_options
from ..errors import Overloaded
from ..windows import Window, cut_windows
from ..wire import VadParameters

T = TypeVar("T")

_closing: set[asyncio.Future[None]] = set()
"""Held here, since the event loop holds its tasks only weakly."""

FIRST_SECONDS = 30.0
"""Read before the first event, so that what is wrong with the start of a file keeps its status."""


class Reading:
    """One upload being read."""

    def __init__(self, cage: Cage, file: BinaryIO, *, max_seconds: float) -> None:
        self._cage = cage
        self._file = file
        self._max_seconds = max_seconds
        self._reader: AudioReader | CagedAudio | None = None
        self._first: list[Samples] = []
        self._rest: Iterator[Samples] = iter(())
        self._stopped = threading.Event()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="reading")
        self._step: asyncio.Future[Any] | None = None
        self._seconds_in_blocks = 0.0
        self._seconds_in_windows = 0.0
        self.seconds = 0.0
        """Seconds of audio read so far."""
        self.is_over = False
        """Whether the file has been read to its end."""

    @property
    def expected_seconds(self) -> float | None:
        """The duration that the file's header promises; None when it says nothing."""
        return self._reader.duration if self._reader else None

    @property
    def is_truncated(self) -> bool:
        """Whether the file's end is missing; known after its last block."""
        return self._reader is not None and self._reader.truncated

    @property
    def load_seconds(self) -> float:
        """Time spent on making samples of bytes."""
        return self._seconds_in_blocks

    @property
    def vad_seconds(self) -> float:
        """Time spent on finding speech and cutting windows."""
        return max(0.0, self._seconds_in_windows - self._seconds_in_blocks)

    async def open(self) -> None:
        """Open the file and read its first FIRST_SECONDS; raises what is wrong with it."""
        await self._in_thread(self._open)

    def _open(self) -> None:
        if self._stopped.is_set():
            return
        self._reader = self._cage.open(
            self._file, max_seconds=self._max_seconds, started=self._started
        )
        self._rest = self._reader.blocks()
        began = time.monotonic()
        while self.seconds < FIRST_SECONDS and (block := self._next_block()) is not None:
            self._first.append(block)
        self._seconds_in_blocks += time.monotonic() - began

    def _started(self, reader: CagedAudio) -> None:
        self._reader = reader
        if self._stopped.is_set():
            reader.close()

    def blocks(self) -> Iterator[Samples]:
        """All blocks from the start; once. Ends early when the reading is closed."""
        while self._first and not self._stopped.is_set():
            yield self._first.pop(0)
        while not self._stopped.is_set():
            began = time.monotonic()
            block = self._next_block()
            self._seconds_in_blocks += time.monotonic() - began
            if block is None:
                return
            yield block

    def _next_block(self) -> Samples | None:
        block = next(self._rest, None)
        if block is None:
            self.is_over = True
        else:
            self.seconds += len(block) / SAMPLE_RATE
        return block

    def windows(self, parameters: VadParameters) -> Iterator[Window]:
        """All windows that hold speech; once."""
        windows = cut_windows(self.blocks(), vad_options(parameters))
        self._seconds_in_windows = self._seconds_in_blocks  # opening is in both
        while True:
            began = time.monotonic()
            window = next(windows, None)
            self._seconds_in_windows += time.monotonic() - began
            if window is None:
                return
            yield window

    async def next(self, items: Iterator[T]) -> T | None:
        """The next block or window, found in a thread; None at the end."""
        return await self._in_thread(lambda: next(items, None))

    async def _in_thread(self, call: Callable[[], T]) -> T:
        try:
            step = asyncio.get_running_loop().run_in_executor(self._thread, call)
        except RuntimeError as exc:  # as many threads as there may be
            raise Overloaded("There is no room for another decoder") from exc
        self._step = step
        return await asyncio.shield(step)

    async def close(self) -> None:
        """End the decoder at once, and close the file once the step in flight has ended.

        It is done to its end even when whoever waits for it is cancelled meanwhile, as a server does
        with those who have left.
        """
        self._stopped.set()
        # Not in the thread, which may be waiting for the decoder. Without a cage, libav must not be
        # closed under the step in flight.
        if isinstance(self._reader, CagedAudio):
            self._reader.close()
        closing = asyncio.ensure_future(self._close())
        _closing.add(closing)
        closing.add_done_callback(_closing.discard)
        await asyncio.shield(closing)

    async def _close(self) -> None:
        if self._step is not None:
            # Its exception is nobody's any more, and asyncio complains of those that nobody has seen.
            await asyncio.gather(self._step, return_exceptions=True)
        self._thread.shutdown()  # it is idle, so that this takes no time
        if self._reader is not None:
            self._reader.close()
        await asyncio.to_thread(self._file.close)  # a large one takes its time, see `let_go`
