"""Windows of one request that are heard side by side."""

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from processes import until
from scheduling import Clip
from worker.decoding.attempt import Outcome
from worker.decoding.listener import Sound
from worker.decoding.plan import make_plan
from worker.decoding.station import Station
from worker.decoding.vocabulary import Vocabulary
from worker.scheduler import Lane, Scheduler
from worker.settings import Settings
from worker.transcribe.strategies import Work
from worker.vad import Span
from worker.windows import Window
from worker.wire import Options

AT_ONCE = 4


class Failing:
    """Hears nothing: all windows fail together, as when the device is lost."""

    def __init__(self) -> None:
        self._asked = 0
        self._all_asked = asyncio.Event()

    async def transcribe(self, *args: Any, **told: Any) -> None:
        self._asked += 1
        if self._asked == AT_ONCE:
            self._all_asked.set()
        await self._all_asked.wait()
        raise ValueError("lost")


class Reading:
    """A file of so many windows."""

    def __init__(self, count: int) -> None:
        self._count = count

    def windows(self, parameters: object) -> Any:
        for start in range(0, self._count * 16_000, 16_000):
            span = Span(start, start + 16_000)
            yield Window(np.zeros(16_000, np.float32), (span,), (span,))

    async def next(self, windows: Any) -> Window | None:
        return next(windows, None)


def test_windows_that_fail_together_fail_their_request_once_and_are_not_logged_as_bugs(
    station: Station, caplog: pytest.LogCaptureFixture
) -> None:
    options = Options(language="en")
    plan = make_plan(options, Settings(whisper_models=["micro"]), station.vocabulary, "cpu")

    async def story() -> None:
        reading: Any = Reading(AT_ONCE)
        listener: Any = Failing()
        lane: Any = SimpleNamespace(look_ahead=AT_ONCE)
        work = Work(plan, reading, listener, lane)
        with pytest.raises(ValueError, match="lost"):
            async for _ in work.run():
                pass
        await work.close()
        del work
        gc.collect()

    asyncio.run(story())
    gc.collect()
    assert caplog.messages == []


class ThroughTheQueue:
    """Hands each window to a scheduler; the text of one may be kept back."""

    def __init__(
        self, lane: Lane[Clip, str], vocabulary: Vocabulary, kept_back: float | None
    ) -> None:
        self.vocabulary = vocabulary
        self._lane, self._kept_back = lane, kept_back
        self.others_have_run = asyncio.Event()

    async def transcribe(self, sound: Sound, *args: Any, **told: Any) -> Outcome:
        await asyncio.wrap_future(self._lane.submit(Clip(f"{sound.start}")))
        if sound.start == self._kept_back:
            await self.others_have_run.wait()
        return Outcome()


@pytest.mark.parametrize("kept_back", [None, 3.0], ids=["all at once", "one is tried again"])
def test_the_next_batch_of_a_file_is_ready_before_the_one_that_runs_has_ended(
    station: Station, kept_back: float | None
) -> None:
    """Else a file that is alone has never full batches."""
    options = Options(language="en")
    plan = make_plan(options, Settings(whisper_models=["micro"]), station.vocabulary, "cpu")
    full = 4 if kept_back is None else 3
    least, total, seen = [1, 2, full, full, full], 19, list[int]()

    def step(batch: list[Clip]) -> list[str]:
        seen.append(len(batch))
        if len(seen) < len(least):
            wanted = min(least[len(seen)], total - sum(seen))
            until(lambda: len(scheduler._queue) >= wanted)
        if len(seen) == 4:  # the one that is kept back was in the third
            loop.call_soon_threadsafe(listener.others_have_run.set)
        return ["text"] * len(batch)

    scheduler = Scheduler[Clip, str](step, max_batch_size=4)

    async def story() -> None:
        nonlocal loop, listener
        loop = asyncio.get_running_loop()
        scheduler.start()
        with scheduler.open() as lane:
            listener = ThroughTheQueue(lane, station.vocabulary, kept_back)
            work = Work(plan, Reading(total), listener, lane)  # type: ignore[arg-type]
            assert [done.until async for done in work.run()] == list(range(1, total + 1))

    loop: Any = None
    listener: Any = None
    asyncio.run(story())
    scheduler.close()
    assert sum(seen) == total
    assert all(size >= wanted for size, wanted in zip(seen, least, strict=False))
