"""One request's windows on their way through the queue: language, temperature ladder, alignment."""

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from ..audio import Samples
from ..mel import FRAME_SAMPLES, FRAMES_PER_SECOND, FULL_FRAMES, log_mel
from ..scheduler import Lane
from .attempt import Attempt, Outcome, Recipe
from .ladder import best_of_the_failed
from .language import choose_language, likely_language
from .plan import Plan
from .step import Step
from .vocabulary import Vocabulary

CLEAR_PROBABILITY = 0.5
"""A window that is in another language with more than this has switched."""


@dataclass(frozen=True, slots=True)
class Sound:
    """What a window hears: samples of at most 30 s."""

    samples: Samples
    seek: int
    """Frame of its passage at which it begins."""
    is_whole: bool = False
    """Whether this is all that there is, so that it may be encoded at its own length."""
    start: float | None = None
    """Where it begins in the file, in seconds, if that is not at `seek`; for the log."""
    encoded: Any = None
    """The encoder's output, where the window was heard for its language already."""

    @property
    def frames(self) -> int:
        """Frames of 10 ms that hold audio."""
        return -(-len(self.samples) // FRAME_SAMPLES)

    def cut(self, frames: int) -> "Sound":
        """Only the first `frames`."""
        return Sound(self.samples[: frames * FRAME_SAMPLES], self.seek, start=self.start)


class Listener:
    """Hands windows of one request to the scheduler, one attempt after the other."""

    def __init__(self, lane: Lane[Attempt, Outcome], step: Step, request_id: str) -> None:
        self.vocabulary: Vocabulary = step.vocabulary
        self._lane = lane
        self._step = step
        self._request_id = request_id
        self._preparing = asyncio.Lock()
        """One window at a time: those of a long file would hold all threads, and with them short clips."""
        self.on_language: Callable[[dict[str, float]], None] | None = None
        """Told the languages of a window whose language is not known, long before its text is."""

    async def detect_language(
        self, sound: Sound, plan: Plan, *, is_apart: bool = False, urgent: bool = False
    ) -> Outcome:
        """The probability of each language in a window; `is_apart` when its text is not wanted too.

        `urgent` puts it in front of the request's other windows.
        """
        attempt = await self._attempt(sound, plan, recipe=Recipe("detect"))
        attempt = replace(attempt, is_apart=is_apart)
        return await asyncio.wrap_future(self._lane.submit(attempt, urgent=urgent))

    async def transcribe(
        self, sound: Sound, plan: Plan, *, previous: Sequence[int] = (), prefix: Sequence[int] = ()
    ) -> Outcome:
        """The text of a window, from the first temperature that is good enough, or the best of all.

        `temperature` of the outcome is the last one tried, as in the reference. Raises InvalidRequest
        for a window in a language that the request wants refused.
        """
        vocabulary, options = self.vocabulary, plan.options
        language = plan.language or "en"
        prompt = vocabulary.prompt(
            language=language,
            task=options.task,
            previous=previous,
            hotwords=plan.hotwords,
            prefix=prefix,
            timestamps=plan.timestamps,
        )
        start = vocabulary.start(language, options.task)
        recipe = replace(plan.recipe, start_index=prompt.index(start[0]))
        attempt = await self._attempt(sound, plan, recipe=recipe)
        attempt = replace(
            attempt,
            prompt=tuple(prompt),
            start=tuple(start),
            align=plan.aligned,
            detect=vocabulary.multilingual and (options.multilingual or plan.language is None),
            choose=partial(likely_language, options=options),
            task=options.task,
            on_language=self._teller(),
        )
        outcome = await self._climb(attempt, plan)
        has_text = any(token < vocabulary.eot for token in outcome.tokens)
        if attempt.detect and has_text and not outcome.is_silence(plan.thresholds):
            # Refused here and not in the batch, where others wait for their windows.
            language_heard = choose_language([outcome.languages], options)
            outcome = replace(outcome, language=language_heard)
        has_switched = await self._has_switched(sound, plan, outcome)
        # A text may wait for those before it; megabytes of the encoder's output need not wait with it.
        return replace(outcome, has_switched=has_switched, encoded=None)

    def _teller(self) -> Callable[[dict[str, float]], None] | None:
        """Bring what the inference thread hears to this request's event loop."""
        told, loop = self.on_language, asyncio.get_running_loop()
        if told is None:
            return None

        def tell(languages: dict[str, float]) -> None:
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(told, languages)

        return tell

    async def _has_switched(self, sound: Sound, plan: Plan, outcome: Outcome) -> bool:
        """Whether a window of doubtful text is in another language than the one detected."""
        is_doubtful = (
            outcome.temperature > plan.temperatures[0]
            or outcome.avg_logprob < plan.thresholds.log_prob
        )
        was_heard = plan.is_language_open
        if not (plan.is_detected or was_heard):
            return False
        if plan.options.doubtful == "keep" or not is_doubtful:
            return False
        if outcome.is_silence(plan.thresholds):
            return False  # it gives no text to flag
        languages = outcome.languages
        if not was_heard:
            # Its text is at hand, and those of later windows wait for it.
            sound = replace(sound, encoded=outcome.encoded)
            languages = (await self.detect_language(sound, plan, urgent=True)).languages
        taken = plan.language if outcome.language is None else outcome.language.code
        code, probability = next(iter(languages.items()))
        return code != taken and probability > CLEAR_PROBABILITY

    async def _climb(self, attempt: Attempt, plan: Plan) -> Outcome:
        outcomes: list[Outcome] = []
        for temperature in plan.temperatures:
            encoded = outcomes[-1].encoded if outcomes else attempt.encoded
            future = self._lane.submit(attempt.again(temperature, encoded), urgent=bool(outcomes))
            outcomes.append(await asyncio.wrap_future(future))
            if not outcomes[-1].needs_fallback:
                return outcomes[-1]
        best = best_of_the_failed(outcomes, plan.thresholds)
        if attempt.align and not best.is_silence(plan.thresholds):
            best = await self._aligned(attempt, best)
        return replace(best, temperature=plan.temperatures[-1])

    async def _aligned(self, attempt: Attempt, outcome: Outcome) -> Outcome:
        """Look for the words of a text that was chosen only after all attempts had failed."""
        text = self._step.spoken(outcome.tokens, attempt.frames)
        if not text:
            return outcome
        job = replace(
            attempt,
            recipe=Recipe("align"),
            start=outcome.start,
            text_tokens=text,
            encoded=outcome.encoded,
            detect=False,
        )
        result = await asyncio.wrap_future(self._lane.submit(job, urgent=True))
        return replace(outcome, alignment=result.alignment)

    async def _attempt(self, sound: Sound, plan: Plan, *, recipe: Recipe) -> Attempt:
        frames = plan.window_frames(sound.frames) if sound.is_whole else FULL_FRAMES
        mels = self._step.engine.mels
        async with self._preparing:
            mel = await asyncio.to_thread(log_mel, sound.samples, mels, frames / FRAMES_PER_SECOND)
        begin = sound.seek / FRAMES_PER_SECOND if sound.start is None else sound.start
        return Attempt(
            recipe=recipe,
            mel=mel,
            prompt=(),
            start=(),
            frames=sound.frames,
            description=f"{self._request_id}, {begin:.1f} to {begin + sound.frames / FRAMES_PER_SECOND:.1f} s",
            thresholds=plan.thresholds,
            encoded=sound.encoded,
        )
