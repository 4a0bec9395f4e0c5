"""A reading that is closed lets go of its decoder, its thread and its file at once."""

import asyncio
import gc
import os
import signal
import sys
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO

import pytest
from decoders import child_of, is_waited_for
from house import DATA
from processes import until, wait_for_end
from worker.audio import Cage, CagedAudio
from worker.errors import Overloaded
from worker.transcribe.reading import Reading

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the cage is Linux's")


class Told(Cage):
    """Tells which child decodes, and when one has been started."""

    def __init__(self) -> None:
        super().__init__()
        self.has_started = threading.Event()
        self.audio: CagedAudio

    def open(self, file: BinaryIO, **told: Any) -> Any:
        started = told.pop("started")

        def tell(audio: CagedAudio) -> None:
            started(audio)
            self.audio = audio
            self.has_started.set()

        return super().open(file, started=tell, **told)


@pytest.fixture
def cage() -> Iterator[Told]:
    with Told() as cage:
        yield cage


def reading_of(cage: Cage, file: str = "long/en-10min.mp3") -> Reading:
    return Reading(cage, (DATA / file).open("rb"), max_seconds=3600)


async def left(reading: Reading, step: "asyncio.Task[Any]") -> None:
    """Do what a request does whose client leaves during `step`."""
    step.cancel()
    await asyncio.wait({step})
    await reading.close()
    assert step.cancelled()


def test_leaving_while_the_decoder_is_silent_ends_it_and_frees_the_thread(
    cage: Told, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        reading = reading_of(cage)
        await reading.open()
        blocks = reading.blocks()
        process = os.pidfd_open(child_of(cage))
        os.kill(child_of(cage), signal.SIGSTOP)

        async def rest() -> None:
            while await reading.next(blocks) is not None:
                pass

        step = asyncio.ensure_future(rest())
        await asyncio.to_thread(until, lambda: is_waited_for(cage.audio))
        await left(reading, step)
        assert reading._file.closed
        await asyncio.to_thread(wait_for_end, process)

    asyncio.run(story())
    gc.collect()
    assert caplog.messages == [], "it was not the silence that ended it, and nothing is left over"


def test_leaving_before_the_decoder_has_said_anything_frees_the_thread(
    cage: Told, caplog: pytest.LogCaptureFixture
) -> None:
    async def story() -> None:
        os.kill(cage.pid, signal.SIGSTOP)
        reading = reading_of(cage)
        step = asyncio.ensure_future(reading.open())
        await asyncio.to_thread(cage.has_started.wait)
        await left(reading, step)
        assert reading._file.closed
        os.kill(cage.pid, signal.SIGCONT)

        following = reading_of(cage, "short/en-1.wav")
        await following.open()
        await following.close()
        assert following.seconds == pytest.approx(2.076, abs=0.01)

    asyncio.run(story())
    gc.collect()
    assert caplog.messages == [], "it was not the silence that ended it, and nothing is left over"


def test_leaving_before_the_thread_has_begun_starts_no_decoder(cage: Told) -> None:
    async def story() -> None:
        reading, gate = reading_of(cage), threading.Event()
        reading._thread.submit(gate.wait)
        step = asyncio.ensure_future(reading.open())
        await asyncio.sleep(0)
        step.cancel()
        closing = asyncio.ensure_future(reading.close())
        await asyncio.sleep(0)
        gate.set()
        await closing
        assert step.cancelled()

    before = threading.enumerate()
    asyncio.run(story())
    assert threading.enumerate() == before
    assert not cage.has_started.is_set()


def test_as_many_threads_as_there_may_be_are_told_as_such(
    cage: Told, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none_left(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    async def story() -> None:
        reading = reading_of(cage, "short/en-1.wav")
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", none_left)
            with pytest.raises(Overloaded, match="no room for another decoder"):
                await reading.open()
        await reading.close()
        assert reading._file.closed

    asyncio.run(story())
