"""A window whose text does not fit: it is cut at its quietest place and heard again, never cut silently."""

import asyncio
import re
from dataclasses import replace
from typing import Any

import numpy as np
from faster_whisper.audio import decode_audio
from house import DATA
from worker.audio import Samples
from worker.decoding.attempt import Outcome
from worker.decoding.listener import Listener, Sound
from worker.decoding.passage import Context, hear_passage
from worker.decoding.plan import Plan, make_plan
from worker.decoding.station import Station
from worker.settings import Settings
from worker.wire import Options

FRAMES_THAT_FIT = 700


class LimitedListener(Listener):
    """Says only the beginning of what is longer than FRAMES_THAT_FIT, as the token limit does."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.asked: list[tuple[int, int]] = []

    async def listen(self, sound: Sound, plan: Plan, **told: Any) -> Outcome:
        self.asked.append((sound.seek, sound.frames))
        outcome = await super().listen(sound, plan, **told)
        if sound.frames <= FRAMES_THAT_FIT:
            return outcome
        return replace(outcome, tokens=outcome.tokens[:4], cut_off=True)


class Recording:
    """A passage of samples and nothing after them."""

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        self.end = len(samples) // 160

    async def read(self, seek: int, *, heard: int) -> Sound | None:
        rest = self._samples[seek * 160 :]
        return Sound(rest, seek) if len(rest) >= 3200 else None


def test_a_text_that_does_not_fit_is_heard_in_parts_and_lost_nowhere(station: Station) -> None:
    samples = np.asarray(decode_audio(str(DATA / "short/en-3.wav")), np.float32)
    options = Options(language="en", condition_on_previous_text=False, without_timestamps=False)
    plan = make_plan(options, Settings(whisper_models=["micro"]), station.vocabulary)

    async def hear() -> tuple[list[str], list[tuple[int, int]]]:
        texts: list[str] = []
        with station.scheduler.open() as lane:
            listener = LimitedListener(lane, station.step, "test")
            passage = hear_passage(Recording(samples), listener, plan, Context())
            async for said, _ in passage:
                texts += [segment.text for segment in said]
        return texts, listener.asked

    texts, asked = asyncio.run(hear())
    words = re.findall(r"\w+", " ".join(texts).lower())
    assert asked[0] == (0, 984)
    assert 246 <= asked[1][1] <= 738, "cut between a quarter and three quarters"
    assert max(seek + frames for seek, frames in asked) == 984
    for word in ("sales", "orders", "friday", "weather", "vienna", "today", "hello", "poland"):
        assert words.count(word) == 1
