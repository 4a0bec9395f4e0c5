"""A look: one window that was heard, on its way to segments with words, and where to go on behind it.

The rules are those of the reference (openai/whisper, transcribe.py) in faster-whisper's form
(`generate_segments`). Times are seconds of the passage.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from ..audio import SAMPLE_RATE
from ..mel import FRAMES_PER_SECOND, FULL_FRAMES
from .attempt import Outcome
from .listener import Listener, Sound
from .plan import Plan
from .sentences import split_sentences
from .timestamps import Draft, Split, TimedWord
from .words import add_words, aligned_words, is_anomalous, tidy

UNHEARD_FRAMES = 200
"""So much sound behind the last word of a window cut by the VAD is heard again, whatever the model says of it:
models leave the last sentences out at times."""
LEAST_STEP_FRAMES = 100
"""A window cut by the VAD whose words all stand before this is not gone on with behind them: alignment puts invented
words there, and a look each for them would take minutes. Text that is invented over music is often little longer:
after such a step the next one must be of UNHEARD_FRAMES."""


@dataclass(frozen=True, slots=True)
class Said:
    """One segment, with the outcome of its window and the language of its text."""

    draft: Draft
    text: str
    outcome: Outcome
    language: str


@dataclass(frozen=True, slots=True)
class Taken:
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
class Look:
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

    def taken(self, last_speech: float) -> Taken:
        """Segments with their words, and where to go on."""
        drafts = self.split.drafts
        if not self.plan.aligned:
            for draft in drafts:  # of a last frame, only a part may be audio
                draft.start = min(draft.start, self._sound_end)
                draft.end = min(draft.end, self._sound_end)
            return Taken(drafts, self._seek_after(drafts[-1].end if drafts else None), last_speech)
        self._find_words(last_speech)
        next_seek = self._seek_after(_last_word_end(drafts))
        has_left_out = False
        threshold = self.plan.options.hallucination_silence_threshold
        if threshold is not None and self.plan.options.word_timestamps:
            drafts = self._judged()
            if (begin := self._behind_silence(drafts, threshold)) is not None:
                return Taken([], begin, last_speech, has_left_out=True, passes_over_silence=True)
            drafts, skipped = self._without_invented(drafts, threshold, last_speech)
            if skipped is not None:
                next_seek, has_left_out = skipped, True
        last_speech = _last_word_end(drafts) or last_speech
        self._settle_times(drafts, next_seek)
        return Taken(drafts, next_seek, last_speech, has_left_out)

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
        """
        if end is None:
            return self.split.next_seek
        frame = round(end * FRAMES_PER_SECOND)
        goes_on = self._goes_on_in_window(frame) if self.plan.vad else self._goes_on_in_file(frame)
        if not goes_on:
            return self.split.next_seek
        # In a window never behind where the model begins what it left open.
        is_bound = self.plan.vad and self.split.has_unfinished
        return min(frame, self.split.next_seek) if is_bound else frame

    def _goes_on_in_file(self, frame: int) -> bool:
        """Only where words are asked for, as in the reference; without timestamp tokens every end is open there."""
        has_words = self.plan.aligned and self.plan.options.word_timestamps
        return has_words and not self.split.ends_in_silence and frame > self.sound.seek

    def _goes_on_in_window(self, frame: int) -> bool:
        """Whether the rest of a window cut by the VAD, which ends in a pause, is heard again."""
        if self.plan.options.task == "translate":
            return False  # its words are not in the order of the sound
        text, rest = frame - self.sound.seek, self.sound.seek + self.sound.frames - frame
        if self.plan.aligned and self.plan.timestamps and not self.split.ends_in_silence:
            # Some models close no text at all.
            is_more = self.split.has_unfinished or rest > LEAST_STEP_FRAMES
            return text >= LEAST_STEP_FRAMES and is_more
        return text >= self.least_text and rest > UNHEARD_FRAMES

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

    def said(self, drafts: Sequence[Draft]) -> list[Said]:
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
