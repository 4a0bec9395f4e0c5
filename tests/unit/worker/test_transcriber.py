"""What a request goes through before its first window: files opened at once, deadlines."""

import asyncio
import io
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest
from house import MICRO
from starlette.requests import Request
from worker import uploads
from worker.decoding.vocabulary import Vocabulary
from worker.errors import InvalidRequest, Overloaded
from worker.scheduler import Scheduler
from worker.settings import Settings
from worker.transcribe import Transcriber
from worker.transcribe import transcriber as module
from worker.uploads import Upload
from worker.wire import Options, collect_language


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
    vocabulary = Vocabulary(MICRO, multilingual=True)
    engine = SimpleNamespace(device="cpu")
    station = SimpleNamespace(
        name="micro",
        info=info,
        engine=engine,
        vocabulary=vocabulary,
        scheduler=scheduler,
        step=None,
    )
    monkeypatch.setattr(module, "Reading", Reading)
    models: Any = SimpleNamespace(station=lambda name: station)
    cage: Any = None
    return Transcriber(Settings(), models, cage)


def first_event(
    transcriber: Transcriber, options: Options, *, came_at: float | None = None
) -> "asyncio.Task[Any]":
    upload = Upload(io.BytesIO(b"x"), 1, options, time.monotonic() if came_at is None else came_at)
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


def asked(transcriber: Transcriber, options: Options, *, age: float = 0.0) -> str:
    """What a request for 600 s of audio that came `age` seconds ago is told first."""

    async def story() -> str:
        Reading.may_open = asyncio.Event()
        Reading.may_open.set()
        came_at = time.monotonic() - age
        return str((await first_event(transcriber, options, came_at=came_at)).type)

    return asyncio.run(story())


@pytest.mark.parametrize(
    ("options", "seconds"),
    [
        (Options(deadline=900), 1000),
        (Options(deadline=1900, vad_filter=False), 2000),
        (Options(deadline=1900, vad_filter=False, condition_on_previous_text=False), 2000),
        (Options(deadline=1900, condition_on_previous_text=True), 2000),
    ],
)
def test_two_workers_halve_the_time_of_a_file_unless_its_windows_go_in_turn(
    transcriber: Transcriber, scheduler: Scheduler[Any, Any], options: Options, seconds: int
) -> None:
    scheduler.learn(100.0)
    with pytest.raises(Overloaded, match=f"cannot be met; {seconds}"):
        asked(transcriber, options)
    assert asked(transcriber, options.model_copy(update={"deadline": seconds + 100})) == "started"


def test_a_deadline_counts_from_when_the_request_came(
    transcriber: Transcriber, scheduler: Scheduler[Any, Any]
) -> None:
    scheduler.learn(100.0)
    assert asked(transcriber, Options(deadline=1500), age=400.0) == "started"
    with pytest.raises(Overloaded, match="The deadline of 1500 s cannot be met; 16"):
        asked(transcriber, Options(deadline=1500), age=600.0)


def test_a_detection_that_cannot_end_by_its_deadline_is_refused(
    transcriber: Transcriber, scheduler: Scheduler[Any, Any]
) -> None:
    """It hears as many windows as it is asked for, however long the file is."""
    scheduler.learn(100.0)
    for windows, seconds in ((1, 100), (3, 300)):
        options = Options(deadline=seconds - 1, language_detection_segments=windows)
        Reading.may_open = asyncio.Event()
        Reading.may_open.set()
        upload = Upload(io.BytesIO(b"x"), 1, options)
        with pytest.raises(Overloaded, match=f"cannot be met; {seconds}"):
            asyncio.run(collect_language(transcriber.detect_language("micro", upload, "r")))


def test_a_request_has_come_with_its_first_bytes_and_not_with_its_last(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = 100.0
    body = [
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nx',
        b"yz\r\n--b--\r\n",
    ]

    async def receive() -> dict[str, Any]:
        nonlocal now
        now += 4.5
        return {"type": "http.request", "body": body.pop(0), "more_body": bool(body)}

    monkeypatch.setattr(uploads, "time", SimpleNamespace(monotonic=lambda: now))
    headers = [(b"content-type", b"multipart/form-data; boundary=b")]
    request = Request({"type": "http", "headers": headers}, receive)
    upload = asyncio.run(uploads.receive_upload(request, max_bytes=1000, folder=None))
    with upload.file as file:
        assert (file.read(), upload.age) == (b"xyz", 9.0)


def test_before_an_upload_only_what_is_known_of_it_is_asked(
    transcriber: Transcriber, scheduler: Scheduler[Any, Any]
) -> None:
    transcriber.admit("micro")
    with pytest.raises(InvalidRequest, match="no token 999999"):
        transcriber.admit("micro", Options(suppress_tokens=[999_999]))
    scheduler.close()
    with pytest.raises(Overloaded):
        transcriber.admit("micro")
