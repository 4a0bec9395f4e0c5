"""What a request goes through before its first window: how many files are opened at once."""

import asyncio
import io
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from worker.scheduler import Scheduler
from worker.settings import Settings
from worker.transcribe import Transcriber
from worker.transcribe import transcriber as module
from worker.uploads import Upload
from worker.wire import Options


class Reading:
    """A file that opens when the test says so."""

    open_now: int = 0
    may_open: asyncio.Event
    expected_seconds = 600.0
    seconds = 30.0
    is_over = False

    def __init__(self, cage: object, file: io.BytesIO, *, max_seconds: float) -> None:
        self._file = file

    async def open(self) -> None:
        Reading.open_now += 1
        await Reading.may_open.wait()

    async def close(self) -> None:
        self._file.close()


@pytest.fixture
def scheduler() -> Scheduler[Any, Any]:
    """It is not started, so that it stands still."""
    return Scheduler(lambda batch: [], workers=2, clock=lambda: 0.0)


@pytest.fixture
def transcriber(scheduler: Scheduler[Any, Any], monkeypatch: pytest.MonkeyPatch) -> Transcriber:
    """One that has a model of which nothing is asked."""
    info = SimpleNamespace(tasks=["transcribe"])
    vocabulary = SimpleNamespace(multilingual=True, knows=lambda code: True)
    station = SimpleNamespace(
        name="micro", info=info, vocabulary=vocabulary, scheduler=scheduler, step=None
    )
    monkeypatch.setattr(module, "Reading", Reading)
    monkeypatch.setattr(module, "make_plan", lambda *told: None)
    models: Any = SimpleNamespace(station=lambda name: station)
    cage: Any = None
    return Transcriber(Settings(), models, cage)


def first_event(transcriber: Transcriber, options: Options) -> "asyncio.Task[Any]":
    upload = Upload(io.BytesIO(b"x"), 1, options)
    events: AsyncIterator[Any] = transcriber.transcribe("micro", upload, "r")
    return asyncio.ensure_future(anext(events))  # type: ignore[arg-type]


def test_no_more_than_64_files_are_opened_at_once(transcriber: Transcriber) -> None:
    async def story() -> list[int]:
        Reading.open_now, Reading.may_open = 0, asyncio.Event()
        requests = [first_event(transcriber, Options()) for _ in range(70)]
        seen = []
        for _ in range(2):
            for _ in range(10):
                await asyncio.sleep(0)
            seen.append(Reading.open_now)
            Reading.may_open.set()
        await asyncio.gather(*requests, return_exceptions=True)
        return [*seen, Reading.open_now]

    assert asyncio.run(story()) == [64, 70, 70]
