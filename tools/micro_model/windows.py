"""Composes training windows from clips: sound, the tokens to write, and where each token is heard.

A window is written as Whisper writes it: <|startofprev|> and earlier text (at times), then
<|startoftranscript|>, language, task, and sentences with a timestamp before and after each, or
<|notimestamps|> and the sentences alone. Positions are steps of 20 ms of the encoder.
"""

import random
from collections import defaultdict
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from . import sound, tokens
from .clips import Clip
from .grammar import LANGUAGES, counterparts

POSITIONS = 1500  # of 20 ms, in 30 s
STEP = 320  # samples of one position
LONGEST_PROMPT = 223  # tokens, as Whisper keeps them
LAST_SENTENCES = 14
LEAST_MATES = 8  # clips of one voice, below which a window of that voice would say the same again
CLOSE = 2  # positions by which a token may be heard beside a place that the voice told
LOOSE = 6  # and beside one that is guessed
IGNORED = -100  # a target without a loss

NOTHING_SHARE = 0.06
LANGUAGE_SHARES = {"en": 0.22, "de": 0.24, "fr": 0.30, "es": 0.24}
"""Of windows with speech; more for the one that was worst heard lately, less for the one that others were taken for."""
TRANSLATE_SHARE = 0.4
TIMESTAMPS_SHARE = 0.65
PROMPT_SHARE = 0.4
PAUSED_SHARE = 0.5
"""Of full windows: mostly speech, and cut in a pause, as this project's service cuts them."""
CUT_SHARE = 0.75
"""Of the other full windows with timestamps: inside a sentence, where one reaches the end."""
REMNANT_SHARE = 0.15  # of windows that begin with the end of a word, as they do where the one before ended too early
SILENCE_SHARE = 0.65  # of windows that their recording does not fill, see `_filled`
FORCED = frozenset({tokens.TRANSCRIBE, tokens.TRANSLATE, tokens.NO_TIMESTAMPS})
"""Programs always write these themselves; what they would be is drawn here, so there is nothing to learn."""

Place = tuple[int, int] | None


@dataclass
class Window:
    """One training example; `targets` and `places` stand at the token that comes before them."""

    samples: sound.Samples
    size: int
    """Samples of the recording; behind them a program fills the window up, see `features.log_mel`."""
    inputs: list[int] = field(default_factory=list)
    targets: list[int] = field(default_factory=list)
    places: list[Place] = field(default_factory=list)
    spoken: list[int] | None = None
    """What is said, in its own language, for the encoder's own loss; None where a sentence is cut."""


@dataclass
class _Sentence:
    clip: Clip
    first: int  # position
    last: int
    speed: float
    cut: bool = False  # it goes on after the window's end


class Composer:
    """Draws windows from the clips of one or more sets."""

    def __init__(self, clips: list[tuple[Clip, NDArray[np.int16]]], seed: int) -> None:
        self.prompt_share, self.translate_share = PROMPT_SHARE, TRANSLATE_SHARE
        self.rng = random.Random(seed)
        self.noise = np.random.default_rng(seed)
        self.tokens = tokens.Tokens()
        self.by_language: dict[str, list[tuple[Clip, NDArray[np.int16]]]] = defaultdict(list)
        self.by_voice: dict[str, list[tuple[Clip, NDArray[np.int16]]]] = defaultdict(list)
        for clip, samples in clips:
            self.by_language[clip.language].append((clip, samples))
            self.by_voice[clip.voice].append((clip, samples))

    def window(self, seconds: float, offset: int = 0) -> Window:
        """Compose a window of some seconds that begins `offset` positions into the 30 s."""
        size = int(seconds * sound.SAMPLE_RATE)
        if self.rng.random() < NOTHING_SHARE:
            return self._nothing(size)
        (language,) = self.rng.choices(*zip(*LANGUAGE_SHARES.items(), strict=True))
        translate = language != "en" and self.rng.random() < self.translate_share
        timed = self.rng.random() < TIMESTAMPS_SHARE
        paused = seconds >= 30 and self.rng.random() < PAUSED_SHARE
        may_cut = timed and seconds >= 30 and not paused and self.rng.random() < CUT_SHARE
        filled = self.rng.uniform(0.65, 1) if paused else self._filling()
        samples, sentences = self._conversation(size, language, filled, may_cut=may_cut)
        end = self._end(size, sentences[-1].last * STEP, paused=paused)
        window = self._filled(sound.recorded(samples, self.noise), end)
        if self.rng.random() < self.prompt_share:
            self._prompt(window, language, translate, timed)
        self._write(window, sentences, language, translate, timed, offset)
        return window

    def _nothing(self, size: int) -> Window:
        end = self._end(size, size // 3, paused=False)
        window = self._filled(sound.nothing_said(size, self.noise), end)
        window.spoken = []
        language, timed = self.rng.choice(LANGUAGES), self.rng.random() < TIMESTAMPS_SHARE
        if self.rng.random() < self.prompt_share:
            self._prompt(window, language, translate=False, timed=timed)
        head = [tokens.START, self.tokens.languages[language], tokens.TRANSCRIBE]
        if timed:
            head += [tokens.timestamp(self.rng.choice((0, 0, 0, self.rng.randint(0, 50))))]
        else:
            head += [tokens.NO_TIMESTAMPS]
        window.inputs += head
        window.targets += [tokens.NO_SPEECH, *[IGNORED] * (len(head) - 2), tokens.END]
        window.places += [None] * len(head)
        return window

    def _filled(self, samples: sound.Samples, end: int) -> Window:
        """Fill up behind a recording that ends at sample `end`, as programs do: with silence, or with nothing.

        openai-whisper and this project's service add samples of 0, faster-whisper features of 0.
        """
        if self.rng.random() < SILENCE_SHARE:
            samples[end:], end = 0, len(samples)
        return Window(samples, end)

    def _conversation(
        self, size: int, language: str, filled: float, *, may_cut: bool
    ) -> tuple[sound.Samples, list[_Sentence]]:
        """Place sentences one after the other, often of one voice, until a share `filled` of the window is."""
        rng, samples, sentences = self.rng, np.zeros(size, np.float32), list[_Sentence]()
        pool = self.by_language[language]
        clip, said = rng.choice(pool)
        same_voice = rng.random() < 0.5
        at = rng.choice((0.0, *(rng.uniform(0, most) for most in (0.4, 0.4, 0.4, 1.5))))
        if rng.random() < REMNANT_SHARE:
            remnant = rng.choice(pool)[1][-int(rng.uniform(0.05, 0.25) * sound.SAMPLE_RATE) :]
            samples[: len(remnant)] = _at_speed(remnant, 1.0)
            at += len(remnant) / sound.SAMPLE_RATE + rng.uniform(0.1, 0.6)
        until = filled * size / sound.SAMPLE_RATE
        most = LAST_SENTENCES if size > 8 * sound.SAMPLE_RATE else 2
        while not sentences or (at <= until and len(sentences) < most):
            first, speed = round(at * sound.SAMPLE_RATE / STEP), self._speed()
            voice = _at_speed(said, speed) * np.float32(rng.uniform(0.4, 1.3))
            start, end = first * STEP, first * STEP + len(voice)
            cut = end > size - STEP
            if cut and not sentences and len(voice) <= size - STEP:
                first, start, end, cut = 0, 0, len(voice), False
            if cut and (not sentences or not may_cut or size - start < sound.SAMPLE_RATE // 5):
                if sentences:
                    break
                clip, said = rng.choice(pool)
                continue
            samples[start:end] += voice[: size - start]
            last = round(end / STEP)
            sentences.append(_Sentence(clip, first, last, speed, cut))
            if cut:
                break
            at = last * STEP / sound.SAMPLE_RATE + self._pause()
            mates = self.by_voice[clip.voice]
            clip, said = rng.choice(mates if same_voice and len(mates) >= LEAST_MATES else pool)
            while clip.language != language:
                clip, said = rng.choice(pool)
        return samples, sentences

    def _filling(self) -> float:
        """Return how much of a window is filled: often all, at times by one sentence."""
        return self.rng.choice((1.0, 1.0, 1.0, self.rng.random(), self.rng.random(), 0.0, 0.0))

    def _end(self, size: int, least: int, *, paused: bool) -> int:
        """Return how many samples of a window are of its recording: all, or `least` and a little more."""
        if least >= size or not (paused or self.rng.random() < 0.5):
            return size
        near = paused or self.rng.random() < 0.7
        behind = self.rng.uniform(0, 1) if near else self.rng.uniform(0, 30)
        return min(size, least + int(behind * sound.SAMPLE_RATE))

    def _pause(self) -> float:
        draw = self.rng.random()
        if draw < 0.75:
            return self.rng.uniform(0.12, 0.8)
        return self.rng.uniform(0.8, 3) if draw < 0.96 else self.rng.uniform(3, 15)

    def _speed(self) -> float:
        """Half of the clips are played faster or slower, which also makes other voices of them."""
        return self.rng.uniform(0.9, 1.12) if self.rng.random() < 0.5 else 1.0

    def _prompt(self, window: Window, language: str, translate: bool, timed: bool) -> None:
        """Begin with earlier text, mostly as long as Whisper keeps, with its timestamps if timed."""
        rng, at, earlier = self.rng, 0, list[int]()
        marked = rng.random() < (0.75 if timed else 0.2)
        while len(earlier) < LONGEST_PROMPT:
            clip, _ = rng.choice(self.by_language[language])
            text = self.tokens.encode(clip.english if translate else clip.text)
            length = clip.size // STEP
            at = at if at + length <= POSITIONS else 0
            times = (tokens.timestamp(at), tokens.timestamp(at + length))
            earlier += [times[0], *text, times[1]] if marked else text
            at += length + rng.randint(5, 50)
            if rng.random() < 0.05:
                break
        kept = rng.choice((LONGEST_PROMPT, LONGEST_PROMPT, rng.randint(1, LONGEST_PROMPT)))
        window.inputs = [tokens.PREVIOUS, *earlier[-kept:]]
        window.targets = [IGNORED] * len(window.inputs)
        window.places = [None] * len(window.inputs)

    def _write(self, window: Window, sentences: list[_Sentence], language: str, translate: bool,
               timed: bool, offset: int) -> None:  # fmt: skip
        """Write what is said, each token beside the place where it is heard."""
        task = tokens.TRANSLATE if translate else tokens.TRANSCRIBE
        head = [tokens.START, self.tokens.languages[language], task]
        written: list[tuple[int, Place]] = [(token, None) for token in head]
        if not timed:
            written.append((tokens.NO_TIMESTAMPS, None))
        spoken: list[int] = []
        for sentence in sentences:
            first, last = sentence.first, sentence.last
            if timed:
                written.append((tokens.timestamp(offset + first), (first - 5, first + 20)))
            if sentence.cut:
                break
            own = self.tokens.encode(sentence.clip.text)
            spoken += own
            if translate:
                text = self.tokens.encode(sentence.clip.english)
                written += zip(text, self._translated_places(sentence, text), strict=True)
            else:
                written += zip(own, self._places(sentence, own), strict=True)
            if timed:
                written.append((tokens.timestamp(offset + last), (last - 20, last + 5)))
        # CTranslate2 ends the last word where the end of the text is heard.
        is_cut = sentences[-1].cut
        written.append((tokens.END, None if is_cut else (last - 5, last + 20)))
        window.inputs += [token for token, _ in written[:-1]]
        window.targets += [IGNORED if token in FORCED else token for token, _ in written[1:]]
        window.places += [place for _, place in written[1:]]
        window.spoken = None if is_cut else spoken

    def _places(self, sentence: _Sentence, text: list[int]) -> list[tuple[int, int]]:
        """Return where each token is heard: first and last position.

        Close where the voice told it, as at most words' starts, and generous elsewhere.
        """
        marks = sentence.clip.marks
        said = np.cumsum([0] + [self.tokens.characters(token) for token in text])
        if said[-1] != marks[-1][0] + 1:  # one more, the space before; else characters were split
            said = said / said[-1] * marks[-1][0]
        characters, samples = zip(*marks, strict=True)
        edges = np.interp(said, characters, samples) / sentence.speed / STEP
        known = len(marks) > 2
        loose = LOOSE if known else 15 + 0.04 * (sentence.last - sentence.first)
        slack = np.where(known & np.isin(said, characters), CLOSE, loose)
        slack[-1] = CLOSE if known else loose
        firsts, lasts = edges[:-1] - slack[:-1], edges[1:] + slack[1:]
        return [
            (sentence.first + round(first), sentence.first + round(last))
            for first, last in zip(firsts, lasts, strict=True)
        ]

    def _translated_places(self, sentence: _Sentence, text: list[int]) -> list[tuple[int, int]]:
        """Return where the word that each token translates is heard; anywhere in the sentence if unknown."""
        clip, anywhere = sentence.clip, (sentence.first - LOOSE, sentence.last + LOOSE)
        places = [anywhere] * len(text)
        if len(clip.marks) <= 2:
            return places
        characters, samples = zip(*clip.marks, strict=True)
        ends = np.cumsum([self.tokens.characters(token) for token in text]).tolist()
        for (begin, end), said in counterparts(clip.english, clip.text, clip.language):
            first, last = np.interp(said, characters, samples) / sentence.speed / STEP
            place = (sentence.first + round(first) - LOOSE, sentence.first + round(last) + LOOSE)
            for index, until in enumerate(ends):
                if begin < until - 1 <= end:  # counted without the space before
                    places[index] = place
        return places


def _at_speed(samples: NDArray[np.int16], speed: float) -> sound.Samples:
    """Play samples faster or slower, the pitch with them."""
    loud = samples.astype(np.float32) / 32768
    if speed == 1.0:
        return loud
    at = np.arange(0, len(loud) - 1, speed)
    faster: sound.Samples = np.interp(at, np.arange(len(loud)), loud).astype(np.float32)
    return faster
