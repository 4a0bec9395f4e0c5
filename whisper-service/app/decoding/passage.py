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

from ..audio import SAMPLE_RATE, Samples
from ..mel import FRAME_SAMPLES, FRAMES_PER_SECOND, FULL_FRAMES
from .attempt import Outcome
from .doubt import doubts, is_left_out
from .language import HeardLanguage, likely_language
from .listener import Listener, Sound
from .plan import Plan
from .sentences import split_sentences
from .timestamps import Draft, Split, TimedWord, split_by_timestamps
from .vocabulary import PROMPT_TOKENS
from .words import add_words, aligned_words, is_anomalous, tidy

SHORTEST_REDONE_FRAMES = 400
"""A window this short is not cut again: so many words were not said in it, and what it says is doubtful."""
UNHEARD_FRAMES = 200
"""So much sound behind the last word of a window cut by the VAD is heard again, whatever the model says of it:
models leave the last sentences out at times."""
LEAST_STEP_FRAMES = 100
"""A window cut by the VAD whose words all stand before this is not gone on with behind them: alignment puts invented
words there, and a look each for them would take minutes. Text that is invented over music is often little longer:
after such a step the next one must be of UNHEARD_FRAMES."""
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


@dataclass(frozen=True, slots=True)
class Said:
    """One segment, with the outcome of its window and the language of its text."""

    draft: Draft
    text: str
    outcome: Outcome
    language: str


async def transcribe_passage(
    source: Source, listener: Listener, plan: Plan, context: Context
) -> AsyncIterator[tuple[list[Said], int]]:
    """Yield the segments of each look, and the frame up to which the passage is done."""
    seek, heard, reach = 0, 0, FULL_FRAMES
    was_short = False
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
        look = _Look(plan, listener, sound, outcome, split, source.end, least)
        taken = await asyncio.to_thread(look.taken, context.last_speech)
        seek, context.last_speech = taken.next_seek, taken.last_speech
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


@dataclass(frozen=True, slots=True)
class _Taken:
    """What is taken of a look."""

    drafts: list[Draft]
    next_seek: int
    last_speech: float
    """When the last word ends, in seconds of the passage."""
    has_left_out: bool = False
    """Whether text was left out as invented."""
    passes_over_silence: bool = False
    """Whether nothing is taken, and the text behind a silence is heard again."""


@dataclass(frozen=True, slots=True)
class _Look:
    """One window that was heard, on its way to segments."""

    plan: Plan
    listener: Listener
    sound: Sound
    outcome: Outcome
    split: Split
    end: int | None
    """Frames in the passage, once that is known."""
    least_text: int
    """Frames that the text must cover before the rest of a window cut by the VAD is heard once more."""

    @property
    def language(self) -> str:
        if self.outcome.language is not None:
            return self.outcome.language.code
        return self.plan.language or "en"

    @property
    def _sound_end(self) -> float:
        """Where the sound ends, in seconds of the passage."""
        return self.sound.seek / FRAMES_PER_SECOND + len(self.sound.samples) / SAMPLE_RATE

    def taken(self, last_speech: float) -> _Taken:
        """Segments with their words, and where to go on."""
        drafts = self.split.drafts
        if not self.plan.aligned:
            for draft in drafts:  # of a last frame, only a part may be audio
                draft.start = min(draft.start, self._sound_end)
                draft.end = min(draft.end, self._sound_end)
            return _Taken(drafts, self._seek_after(drafts[-1].end if drafts else None), last_speech)
        self._find_words(last_speech)
        next_seek = self._seek_after(_last_word_end(drafts))
        has_left_out = False
        threshold = self.plan.options.hallucination_silence_threshold
        if threshold is not None and self.plan.options.word_timestamps:
            drafts = self._judged()
            if (begin := self._behind_silence(drafts, threshold)) is not None:
                return _Taken([], begin, last_speech, has_left_out=True, passes_over_silence=True)
            drafts, skipped = self._without_invented(drafts, threshold, last_speech)
            if skipped is not None:
                next_seek, has_left_out = skipped, True
        last_speech = _last_word_end(drafts) or last_speech
        self._settle_times(drafts, next_seek)
        return _Taken(drafts, next_seek, last_speech, has_left_out)

    def _find_words(self, last_speech: float) -> None:
        vocabulary, alignment = self.listener.vocabulary, self.outcome.alignment
        drafts = self.split.drafts
        words: list[list[TimedWord]] = [[] for _ in drafts]
        if alignment is not None:
            task = self.plan.options.task
            # Words are told apart as the text's language does it, not as that of the sound.
            language = "en" if task == "translate" else self.language
            sizes = [sum(token < vocabulary.eot for token in draft.tokens) for draft in drafts]
            words = aligned_words(alignment, vocabulary.tokenizer(language, task), sizes)
        add_words(
            drafts,
            words,
            seek=self.sound.seek,
            frames=self.sound.frames,
            last_speech=last_speech,
        )

    def _seek_after(self, end: float | None) -> int:
        """After an open end, and after a text that ends long before the sound, go on at its last word.

        `end` is when that ends, or the last segment where words are not looked for; None without text.
        In a whole file only where words are asked for, as in the reference; without timestamp tokens every end
        is open there.
        """
        if end is None:
            return self.split.next_seek
        frame, begin, vad = round(end * FRAMES_PER_SECOND), self.sound.seek, self.plan.vad
        # The words of a translation are not in the order of the sound.
        in_order = self.plan.options.task != "translate"
        can_be_open = self.plan.timestamps if vad else self.plan.options.word_timestamps
        if self.plan.aligned and can_be_open and not self.split.ends_in_silence:
            least = LEAST_STEP_FRAMES if vad else 1
            goes_on = frame - begin >= least and (in_order or not vad)
        else:
            rest = begin + self.sound.frames - frame
            has_text = frame - begin >= self.least_text
            goes_on = vad and in_order and has_text and rest > UNHEARD_FRAMES
        return frame if goes_on else self.split.next_seek

    def _judged(self) -> list[Draft]:
        """Drafts that may turn out to be invented: of text without timestamp tokens, which is one, its sentences."""
        if self.plan.timestamps:
            return self.split.drafts
        return split_sentences(self.split.drafts, self.listener.vocabulary.timestamp_begin)

    def _behind_silence(self, drafts: Sequence[Draft], threshold: float) -> int | None:
        """Where to hear a window again that begins with silence, and then with what looks invented."""
        begin = self.sound.seek / FRAMES_PER_SECOND
        first = next((draft for draft in drafts if draft.words), None)
        if first is None or not is_anomalous(first) or first.start - begin <= threshold:
            return None
        return self.sound.seek + max(1, round((first.start - begin) * FRAMES_PER_SECOND))

    def _without_invented(
        self, drafts: list[Draft], threshold: float, last_speech: float
    ) -> tuple[list[Draft], int | None]:
        """Leave out what looks invented and stands in silence; also where to go on then.

        A window cut by the VAD ends in silence wherever it ends; but it does not begin where the file does.
        """
        frames = FULL_FRAMES
        if self.plan.vad or not self.plan.timestamps:
            frames = self.sound.frames
        begin = self.sound.seek / FRAMES_PER_SECOND
        window_end = begin + frames / FRAMES_PER_SECOND
        spoken_until = last_speech
        for n, draft in enumerate(drafts):
            if not draft.words:
                continue
            after = next((other for other in drafts[n + 1 :] if other.words), None)
            is_first = draft.start < threshold or draft.start - begin < 2.0
            silence_before = draft.start - spoken_until > threshold or (
                is_first and not self.plan.vad  # else a window begins where somebody speaks
            )
            if (
                is_anomalous(draft)
                and silence_before
                and self._ends_in_silence(draft, after, threshold, window_end)
            ):
                at = round(max(begin + 1, draft.start) * FRAMES_PER_SECOND)
                # A window cut by the VAD is not the end of the file: clear text behind it may follow.
                goes_on = self.plan.vad and any(
                    other.words and not is_anomalous(other) for other in drafts[n + 1 :]
                )
                end = None if goes_on else self.end
                if end is not None and end / FRAMES_PER_SECOND - draft.end < threshold:
                    at = end
                return drafts[:n], at
            spoken_until = draft.end
        return drafts, None

    def _ends_in_silence(
        self, draft: Draft, after: Draft | None, threshold: float, window_end: float
    ) -> bool:
        """Whether silence follows a draft, or only what looks invented too."""
        after_start = (self.sound.seek + self.sound.frames) / FRAMES_PER_SECOND
        if after is not None and after.words:
            after_start = after.words[0].start
        return (
            after_start - draft.end > threshold
            or is_anomalous(after)
            or window_end - draft.end < 2.0
        )

    def _settle_times(self, drafts: Sequence[Draft], next_seek: int) -> None:
        """Keep words in order, inside the sound, and before those of the next look."""
        begin = self.sound.seek / FRAMES_PER_SECOND
        end = min(self._sound_end, next_seek / FRAMES_PER_SECOND)
        tidy([word for draft in drafts for word in draft.words or []], start=begin, end=end)
        for draft in drafts:
            if draft.words:
                draft.start, draft.end = draft.words[0].start, draft.words[-1].end

    def said(self, drafts: Sequence[Draft]) -> "list[Said]":
        """All that has text, a sentence each where words are known.

        The reference leaves out segments without length as well; a short word whose length alignment
        has not found would be lost with them.
        """
        vocabulary = self.listener.vocabulary
        parts = split_sentences(drafts, vocabulary.timestamp_begin)
        texts = [(draft, vocabulary.decode(draft.tokens)) for draft in parts]
        return [
            Said(draft, text, self.outcome, self.language) for draft, text in texts if text.strip()
        ]


def _last_word_end(drafts: Sequence[Draft]) -> float | None:
    return next((d.words[-1].end for d in reversed(drafts) if d.words), None)


def quietest_frame(samples: Samples) -> int:
    """The frame with the least sound around it, between a quarter and three quarters."""
    frames = len(samples) // FRAME_SAMPLES
    power = np.square(samples[: frames * FRAME_SAMPLES], dtype=np.float64)
    loudness = power.reshape(frames, FRAME_SAMPLES).mean(axis=1)
    width = round(_QUIET_SECONDS * FRAMES_PER_SECOND)
    smooth = np.convolve(loudness, np.ones(width) / width, mode="same")
    first, last = frames // 4, frames - frames // 4
    return first + int(np.argmin(smooth[first:last]))
