"""Clients that leave at any moment of a request's life leave nothing behind, and nobody else notices."""

import asyncio
import random
import threading
import wave
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from house import DATA
from worker.decoding.station import Station
from worker.transcribe import Transcriber
from worker.uploads import Upload
from worker.wire import Event, Options, Progress, collect

SHORT, STAYS = DATA / "short/en-1.wav", DATA / "short/de-1.wav"
TEXT = "Schalte das Radio an, dort ist das Restaurant."
CALLS = {"submit", "encode", "detect_language", "generate", "align", "event"}


@dataclass(eq=False)
class Leaver:
    """A request that is cancelled in its n-th call of a kind; never when there is no such call."""

    file: Path
    call: str = ""
    number: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    cancel: Callable[[], None] = lambda: None

    def count(self, call: str) -> None:
        self.calls[call] += 1
        if (call, self.calls[call]) == (self.call, self.number):
            self.cancel()


asking: ContextVar[Leaver | None] = ContextVar("asking", default=None)


@pytest.fixture
def watched(station: Station, monkeypatch: pytest.MonkeyPatch) -> Station:
    """The station, telling each leaver of the calls that its windows take part in."""
    by_mel: dict[int, Leaver] = {}
    running = threading.local()
    submit, encode, align = station.scheduler.submit, station.engine.encode, station.engine.align

    def tell(call: str, leavers: list[Leaver | None]) -> None:
        for leaver in leavers:
            if leaver is not None:
                leaver.count(call)

    def watched_submit(lane: Any, job: Any, *, urgent: bool) -> Any:
        future = submit(lane, job, urgent=urgent)
        if (leaver := asking.get()) is not None:
            by_mel[id(job.mel)] = leaver
            leaver.count("submit")
        else:
            by_mel.pop(id(job.mel), None)
        return future

    def watched_encode(mels: Any, known: Any) -> Any:
        running.leavers = [by_mel.get(id(mel)) for mel in mels]
        tell("encode", running.leavers)
        return encode(mels, known)

    def watched_align(encoded: Any, members: list[int], *args: Any) -> Any:
        tell("align", [running.leavers[member] for member in members])
        return align(encoded, members, *args)

    def watched_call(name: str) -> Callable[..., Any]:
        call = getattr(station.engine, name)

        def watched(*args: Any, **options: Any) -> Any:
            tell(name, running.leavers)
            return call(*args, **options)

        return watched

    for name in ("detect_language", "generate"):
        monkeypatch.setattr(station.engine, name, watched_call(name))
    monkeypatch.setattr(station.engine, "encode", watched_encode)
    monkeypatch.setattr(station.engine, "align", watched_align)
    monkeypatch.setattr(station.scheduler, "submit", watched_submit)
    return station


def three_windows(folder: Path) -> Path:
    """One sentence three times, with so much silence between that each is a window."""
    with wave.open(str(SHORT)) as short, wave.open(str(folder / "three.wav"), "wb") as written:
        written.setparams(short.getparams())
        sentence = short.readframes(short.getnframes())
        written.writeframes(bytes(2 * 16_000 * 11).join([sentence] * 3))
    return folder / "three.wav"


def story(transcriber: Transcriber, file: Path) -> AsyncGenerator[Event, None]:
    upload = Upload(file.open("rb"), 0, Options(beam_size=1))
    return transcriber.transcribe("micro", upload, file.name)


async def ask(transcriber: Transcriber, leaver: Leaver) -> None:
    asking.set(leaver)
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task is not None
    leaver.cancel = lambda: loop.call_soon_threadsafe(task.cancel)  # type: ignore[assignment, return-value]
    async with aclosing(story(transcriber, leaver.file)) as events:
        async for event in events:
            if not isinstance(event, Progress):  # a slow machine tells more of them
                leaver.count("event")
                await asyncio.sleep(0)  # where a cancellation arrives


async def at_once(transcriber: Transcriber, leavers: list[Leaver]) -> tuple[str, list[Any]]:
    """Who leaves and one who stays, all at once."""
    leaving = [asyncio.ensure_future(ask(transcriber, leaver)) for leaver in leavers]
    async with aclosing(story(transcriber, STAYS)) as events:
        stays = (await collect(events)).text
    return stays, await asyncio.gather(*leaving, return_exceptions=True)


def held(station: Station) -> tuple[Any, ...]:
    """What could be left behind, once the steps in flight have ended."""
    scheduler, pause = station.scheduler, threading.Event()
    while scheduler._in_flight:
        pause.wait(0.01)
    return (
        sorted(thread.name for thread in threading.enumerate()),
        len([*Path("/proc/self/fd").iterdir()]),
        scheduler.load,
        len(scheduler._queue),
        [*scheduler._lanes],
        [*scheduler._queue._accounts],
    )


def test_clients_that_leave_at_any_of_100_moments_leave_nothing_behind(
    transcriber: Transcriber, watched: Station, tmp_path: Path
) -> None:
    whole = [Leaver(SHORT), Leaver(three_windows(tmp_path))]
    asyncio.run(at_once(transcriber, whole))
    moments = [
        (leaver.file, call, number)
        for leaver in whole
        for call, calls in leaver.calls.items()
        for number in range(1, calls + (call != "event"))
    ]
    assert {call for _, call, _ in moments} == CALLS
    assert [leaver.calls["generate"] for leaver in whole] == [1, 3]
    moments = random.Random(4).choices(moments, k=100)
    before = held(watched)
    for first in range(0, 100, 10):
        leavers = [Leaver(*moment) for moment in moments[first : first + 10]]
        text, ends = asyncio.run(at_once(transcriber, leavers))
        assert text == TEXT
        for leaver, end in zip(leavers, ends, strict=True):
            assert isinstance(end, asyncio.CancelledError), leaver
            assert leaver.calls[leaver.call] >= leaver.number
            assert leaver.calls["event"] >= 1  # it had started
    assert held(watched) == before


@pytest.mark.parametrize("turns", range(0, 60, 5))
def test_clients_that_leave_before_their_file_is_open_leave_nothing_behind(
    transcriber: Transcriber, station: Station, turns: int
) -> None:
    async def leave() -> None:
        task = asyncio.ensure_future(ask(transcriber, Leaver(SHORT)))
        for _ in range(turns):
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(leave())
    before = held(station)
    asyncio.run(leave())
    assert held(station) == before
