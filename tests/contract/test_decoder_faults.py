"""What a client is told when the decoder of its file dies or hangs, and that the next one is served."""

import os
import signal
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, BinaryIO

import pytest
from decoders import is_waited_for
from house import DATA, SPEECH
from processes import children, until, wait_for_end
from running import Running, serve_worker
from worker.audio import Cage, CagedAudio, Samples

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the cage is Linux's")

LONG = (DATA / "long/en-10min.mp3").read_bytes()
TEXT = "It is on the first floor."
MIDDLE = 20
"""Blocks of 2 s: behind what is read before the first event, long before the end."""


class Harm:
    """Sends the decoder of the next file a signal, as its block number `at` is taken."""

    def __init__(self, cage: Cage, number: signal.Signals, at: int) -> None:
        self.harmed = SimpleQueue[int]()
        """The process (an open file) that was harmed."""
        self._cage, self._number, self._at = cage, number, at
        self._open = cage.open
        cage.open = self._opening  # type: ignore[method-assign]

    def _opening(self, file: BinaryIO, **told: Any) -> CagedAudio:
        self._cage.open = self._open  # type: ignore[method-assign]
        before = children(self._cage.pid)
        audio = self._open(file, **told)
        assert isinstance(audio, CagedAudio)
        self.audio = audio
        [child] = {*children(self._cage.pid)} - {*before}
        blocks = audio.blocks()

        def harmed() -> Iterator[Samples]:
            for number, block in enumerate(blocks):
                if number == self._at:
                    self.harmed.put(os.pidfd_open(child))
                    os.kill(child, self._number)
                    self.after(audio)
                yield block

        audio.blocks = harmed  # type: ignore[method-assign]
        return audio

    def after(self, audio: CagedAudio) -> None:
        """Once the harm is done."""


class Hang(Harm):
    """Stops the decoder, which may be silent for a moment only."""

    def after(self, audio: CagedAudio) -> None:
        audio.silence_seconds = 0.01


@pytest.fixture(scope="module")
def worker() -> Iterator[Running]:
    with serve_worker() as running:
        yield running


def cage_of(worker: Running) -> Cage:
    cage: Cage = worker.app.state.transcriber.cage
    return cage


@pytest.mark.parametrize("at", [0, MIDDLE])
@pytest.mark.parametrize(("harm", "number"), [(Harm, signal.SIGKILL), (Hang, signal.SIGSTOP)])
def test_a_decoder_that_dies_or_hangs_makes_its_own_file_invalid_and_the_next_is_served(
    worker: Running, harm: type[Harm], number: signal.Signals, at: int
) -> None:
    done = harm(cage_of(worker), number, at)
    answer = worker.post("/transcribe/micro", files={"file": LONG})
    assert answer.status_code == 400
    assert answer.json() == {
        "error": {
            "message": "The file is damaged: decoding it failed",
            "type": "invalid_request_error",
            "param": "file",
            "code": "invalid_audio",
        },
        "detail": "The file is damaged: decoding it failed",
    }
    wait_for_end(done.harmed.get())
    following = worker.post("/transcribe/micro", files={"file": SPEECH})
    assert (following.status_code, following.json()["text"]) == (200, TEXT)


def test_a_client_that_leaves_a_hung_decoder_ends_it(
    worker: Running, caplog: pytest.LogCaptureFixture
) -> None:
    done = Harm(cage_of(worker), signal.SIGSTOP, MIDDLE)
    headers = {"Accept": "application/jsonl"}
    with worker.post("/transcribe/micro", files={"file": LONG}, headers=headers, stream=True):
        process = done.harmed.get()
        until(lambda: is_waited_for(done.audio))
    wait_for_end(process)
    assert "a decoder has said nothing" not in caplog.text
    following = worker.post("/transcribe/micro", files={"file": SPEECH})
    assert (following.status_code, following.json()["text"]) == (200, TEXT)


def test_more_hung_decoders_than_there_are_threads_for_computing_keep_nobody_waiting(
    worker: Running,
) -> None:
    threads = min(32, (os.cpu_count() or 1) + 4)  # asyncio's
    processes = []
    with ThreadPoolExecutor(threads) as clients:
        hung = []
        for _ in range(threads):
            done = Harm(cage_of(worker), signal.SIGSTOP, 0)
            hung.append(clients.submit(worker.post, "/transcribe/micro", files={"file": LONG}))
            processes.append(done.harmed.get())
        good = worker.post("/transcribe/micro", files={"file": SPEECH})
        waiting = [not answer.done() for answer in hung]
        for process in processes:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, signal.SIGKILL)
    assert (good.status_code, good.json()["text"]) == (200, TEXT)
    assert all(waiting), "the clip has waited until a decoder was given up"
    assert {answer.result().status_code for answer in hung} == {400}
    for process in processes:
        wait_for_end(process)
