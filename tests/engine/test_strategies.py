"""Windows of one request that are heard side by side."""

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from worker.decoding.plan import make_plan
from worker.decoding.station import Station
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
    """A file of as many windows as are heard at once."""

    def windows(self, parameters: object) -> Any:
        span = Span(0, 16_000)
        return iter([Window(np.zeros(16_000, np.float32), (span,), (span,))] * AT_ONCE)

    async def next(self, windows: Any) -> Window | None:
        return next(windows, None)


def test_windows_that_fail_together_fail_their_request_once_and_are_not_logged_as_bugs(
    station: Station, caplog: pytest.LogCaptureFixture
) -> None:
    options = Options(language="en")
    plan = make_plan(options, Settings(whisper_models=["micro"]), station.vocabulary, "cpu")

    async def story() -> None:
        reading: Any = Reading()
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
