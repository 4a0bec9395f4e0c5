"""The seek loop: a passage of audio of any length, heard window after window.

A passage is a whole file (the sequential strategy) or one window cut by the VAD, which may need more
than one look: when the model leaves its last segment open, that is heard again from its start, and when
its text ends although somebody goes on speaking, the rest is. The rules are those of the reference
(openai/whisper, transcribe.py) in faster-whisper's form (`generate_segments`). A text that was cut off
by the token limit is never taken: the window is cut at its quietest place and heard again, and what comes
after it in shorter pieces at first, since it is likely to be the same. Times are seconds of the passage.
"""

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import numpy as np

from ..audio import Samples
from ..mel import FRAME_SAMPLES, FRAMES_PER_SECOND, FULL_FRAMES
from .attempt import Outcome
from .doubt import doubts, is_left_out
from .language import HeardLanguage, likely_language
from .listener import Listener, Sound
from .look import LEAST_STEP_FRAMES, UNHEARD_FRAMES, Look, Said
from .plan import Plan
from .timestamps import split_by_timestamps
from .vocabulary import PROMPT_TOKENS

SHORTEST_REDONE_FRAMES = 400
"""A window this short is not cut again: so many words were not said in it, and what it says is doubtful."""
MOST_SHORT_LOOKS = 4
"""Looks in a row behind which less than LEAST_STEP_FRAMES were taken; from then on each takes as much. A model that ends
each text at once would be asked 1,500 times for 30 s."""
_QUIET_SECONDS = 0.2


class Source(Protocol):
    """Where the audio of a passage comes from."""

    @property
    def end(self) -> int | None:
        """Frames in the passage, once that is known."""

    async def read(self, seek: int, *, heard: int) -> Sound | None:
        """The next 30 s at most from frame `seek`; None when nothing worth hearing is left.

        `seek` never goes back behind an earlier one. Of frames from `heard` on, no text has been taken yet.
        """


@dataclass(slots=True)
class Context:
    """What is carried from window to window."""

    said: list[int] = field(default_factory=list)
    """Tokens that the next window is told, the prompt among them."""
    last_speech: float = 0.0
    prefix: tuple[int, ...] = ()


async def transcribe_passage(
    source: Source, listener: Listener, plan: Plan, context: Context
) -> AsyncIterator[tuple[list[Said], int]]:
    """Yield the segments of each look, and the frame up to which the passage is done."""
    seek, heard, reach = 0, 0, FULL_FRAMES
    was_short, short_looks = False, 0
    language: HeardLanguage | None = None
    while (sound := await source.read(seek, heard=heard)) is not None:
        prefix, context.prefix = context.prefix, ()
        if sound.frames > reach:
            sound = sound.cut(quietest_frame(sound.samples[: reach * FRAME_SAMPLES]))
        outcome = await listener.transcribe(sound, plan, previous=context.said, prefix=prefix)
        if plan.is_language_open and outcome.languages:
            plan = plan.in_language(likely_language(outcome.languages, plan.options))
        if plan.vad and plan.options.multilingual and outcome.language is not None:
            language = outcome.language
            plan = plan.in_one_language(language.code)  # of a rest, a model guesses
        if not _is_endless(outcome, plan):
            reach = min(2 * reach, FULL_FRAMES)
        while _is_endless(outcome, plan) and sound.frames > SHORTEST_REDONE_FRAMES:
            reach = max(sound.frames, 2 * SHORTEST_REDONE_FRAMES)
            sound = sound.cut(quietest_frame(sound.samples))
            outcome = await listener.transcribe(sound, plan, previous=context.said, prefix=prefix)
        outcome = replace(outcome, language=outcome.language or language)
        heard = sound.seek + sound.frames
        if outcome.is_silence(plan.thresholds):
            seek = heard
            yield [], seek
            continue
        split = split_by_timestamps(
            outcome.tokens,
            timestamp_begin=listener.vocabulary.timestamp_begin,
            seek=sound.seek,
            frames=sound.frames,
        )
        least = UNHEARD_FRAMES if was_short else LEAST_STEP_FRAMES
        look = Look(plan, listener, sound, outcome, split, source.end, least)
        taken = await asyncio.to_thread(look.taken, context.last_speech)
        seek, context.last_speech = taken.next_seek, taken.last_speech
        if _is_endless(outcome, plan):
            seek = heard  # in so short a piece the rest is the same loop
        is_step = seek - sound.seek >= LEAST_STEP_FRAMES
        short_looks = 0 if is_step else short_looks + 1
        if short_looks > MOST_SHORT_LOOKS:
            seek = min(heard, sound.seek + LEAST_STEP_FRAMES)
        was_short = seek - sound.seek < UNHEARD_FRAMES
        if split.has_unfinished or taken.has_left_out:
            heard = seek
        said = list(look.said(taken.drafts))
        if not taken.passes_over_silence:
            _remember(context, said, plan, outcome)
        yield said, seek


def _is_endless(outcome: Outcome, plan: Plan) -> bool:
    """Whether a text was cut off that counts; of silence none does, however long it is."""
    return outcome.cut_off and not outcome.is_silence(plan.thresholds)


def _remember(context: Context, said: Sequence[Said], plan: Plan, outcome: Outcome) -> None:
    """What the next look is told: with the VAD the prompt anew, in a file it goes to the first text."""
    for segment in said:
        if not _is_left_out(segment, plan):
            context.said += segment.draft.tokens
    del context.said[:-PROMPT_TOKENS]  # hours of text would be kept for nothing
    reset = plan.options.prompt_reset_on_temperature
    if plan.conditioned:
        if outcome.temperature > reset:
            context.said = []
    elif plan.vad:
        context.said = list(plan.prompt)
    elif said:
        context.said = []


def _is_left_out(segment: Said, plan: Plan) -> bool:
    """Whether the request drops a segment, as far as its text and its window tell."""
    if plan.options.doubtful != "drop":
        return False
    reasons = doubts(
        text=segment.text, outcome=segment.outcome, thresholds=plan.thresholds, spoken_share=None
    )
    return is_left_out(reasons)


def quietest_frame(samples: Samples) -> int:
    """The frame with the least sound around it, between a quarter and three quarters."""
    frames = len(samples) // FRAME_SAMPLES
    power = np.square(samples[: frames * FRAME_SAMPLES], dtype=np.float64)
    loudness = power.reshape(frames, FRAME_SAMPLES).mean(axis=1)
    width = round(_QUIET_SECONDS * FRAMES_PER_SECOND)
    smooth = np.convolve(loudness, np.ones(width) / width, mode="same")
    first, last = frames // 4, frames - frames // 4
    return first + int(np.argmin(smooth[first:last]))
