"""Windows of one request on their way to the queue."""

import asyncio
import threading
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from worker.decoding import listener as module
from worker.decoding.attempt import Recipe
from worker.decoding.listener import Listener, Sound
from worker.decoding.plan import Plan


def test_a_request_prepares_one_window_at_a_time_whatever_it_has_read_ahead(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Else those of long files would hold all threads, and a clip that comes would wait for them."""
    at_work, together, others_are_free = 0, 0, threading.Event()

    def slow_mel(*_: Any) -> Any:
        nonlocal at_work, together
        at_work += 1
        together = max(together, at_work)
        others_are_free.wait(0.01)
        at_work -= 1
        return np.zeros((80, 3000), np.float32)

    monkeypatch.setattr(module, "log_mel", slow_mel)
    step = SimpleNamespace(vocabulary=None, engine=SimpleNamespace(mels=80))
    listener = Listener(cast("Any", None), cast("Any", step), "test")
    plan = cast("Plan", SimpleNamespace(thresholds=None))

    async def prepare() -> list[Any]:
        sounds = [Sound(np.zeros(16000, np.float32), seek) for seek in range(8)]
        recipe = Recipe("detect")
        return await asyncio.gather(*(listener._attempt(s, plan, recipe=recipe) for s in sounds))

    attempts = asyncio.run(prepare())
    assert together == 1
    assert [one.description.split(", ")[1] for one in attempts][:2] == [
        "0.0 to 1.0 s",
        "0.0 to 1.0 s",
    ]
