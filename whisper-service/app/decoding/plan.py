"""What one request asked for, with every default filled in and checked against the model."""

import math
from dataclasses import dataclass, replace

from ..errors import InvalidRequest
from ..mel import FRAMES_PER_SECOND, FULL_FRAMES
from ..settings import Settings
from ..vad import VadOptions
from ..wire import AUTO, Options, VadParameters
from .attempt import Recipe, Thresholds
from .ladder import temperatures
from .language import ENGLISH_ONLY, choose_language
from .vocabulary import PREFIX_TOKENS, PROMPT_TOKENS, Vocabulary

BUCKETS = (1000, 1500, 2000)
"""Window lengths of the adaptive window, in frames; few, so that short clips share batches."""
HINT_CHARACTERS = 10_000
"""Of a hint that are made into tokens, more than those that count can hold: a whole book would hold up other requests."""
_FIRST, _LAST = slice(HINT_CHARACTERS), slice(-HINT_CHARACTERS, None)
MARGIN_FRAMES = 200
"""Silence that stays behind the audio in an adaptive window."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How the windows of one request are decoded."""

    options: Options
    language: str | None
    """None until it is detected."""
    is_detected: bool
    """Whether the language was heard, not given; then a window may turn out to be in another."""
    is_expected: bool
    """False when an English-only model serves a request that expects other languages."""
    vad: bool
    """Whether windows are cut where nobody speaks."""
    conditioned: bool
    """Whether each window is told what was said before."""
    adaptive: bool
    timestamps: bool
    aligned: bool
    """Whether words are looked for: they were asked for, or times come from them."""
    temperatures: tuple[float, ...]
    thresholds: Thresholds
    prompt: tuple[int, ...]
    hotwords: tuple[int, ...]
    prefix: tuple[int, ...]
    recipe: Recipe

    @property
    def is_language_open(self) -> bool:
        """Whether the first windows that are heard settle the language for all."""
        return self.language is None and not self.options.multilingual

    @property
    def in_turn(self) -> bool:
        """Whether each window waits for the one before it."""
        return self.conditioned or not self.vad

    def in_language(self, language: str) -> "Plan":
        """The same plan for the language that was detected."""
        return replace(self, language=language, is_detected=True)

    def in_one_language(self, language: str) -> "Plan":
        """The same plan for one window of several languages, once its own is known."""
        return replace(
            self,
            language=language,
            options=self.options.model_copy(update={"multilingual": False}),
        )

    def window_share(self, seconds: float) -> float:
        """How much of a full window a file of so many seconds takes."""
        return self.window_frames(math.ceil(seconds * FRAMES_PER_SECOND)) / FULL_FRAMES

    def window_frames(self, frames: int) -> int:
        """How long a window that holds `frames` of audio, and no more is to come, is encoded."""
        if self.adaptive:
            for bucket in BUCKETS:
                if frames + MARGIN_FRAMES <= bucket:
                    return bucket
        return FULL_FRAMES


def make_plan(options: Options, settings: Settings, vocabulary: Vocabulary, device: str) -> Plan:
    """Fill in defaults; raises InvalidRequest for what this model cannot do."""
    vad = settings.whisper_vad_filter if options.vad_filter is None else options.vad_filter
    conditioned = options.condition_on_previous_text
    if conditioned is None:
        conditioned = not vad
    independent = vad and not conditioned
    without_timestamps = options.without_timestamps
    if without_timestamps is None:
        # Whisper was trained with timestamps, and the seek loop needs them, but in CUDA batches their
        # rules cost more than the decoding itself (CTranslate2 issue 1783).
        without_timestamps = independent and device == "cuda"
    beyond = [token for token in options.suppress_tokens if token >= vocabulary.size]
    if beyond:
        message = f"suppress_tokens: the model has no token {beyond[0]}"
        raise InvalidRequest(message, param="suppress_tokens")
    if vocabulary.eot in options.suppress_tokens:
        message = f"suppress_tokens: without token {vocabulary.eot} no text ever ends"
        raise InvalidRequest(message, param="suppress_tokens")
    beam_size = options.beam_size or settings.whisper_beam_size
    if beam_size * options.patience < 0.5:  # CTranslate2 rounds a half up
        message = f"patience: {options.patience} of {beam_size} beams leaves none to wait for"
        raise InvalidRequest(message, param="patience")
    adaptive = options.adaptive_window
    return Plan(
        options=options,
        language=_language(options, settings, vocabulary),
        is_detected=False,
        is_expected=vocabulary.multilingual or _expects_english(options),
        vad=vad,
        conditioned=conditioned,
        adaptive=settings.whisper_adaptive_window if adaptive is None else adaptive,
        timestamps=not without_timestamps,
        # Alignment is nearer to the sound than timestamps, and knows where words cross left-out silence.
        aligned=options.word_timestamps or options.logprobs or without_timestamps or independent,
        temperatures=temperatures(options.temperature),
        thresholds=Thresholds(
            compression_ratio=options.compression_ratio_threshold,
            log_prob=options.log_prob_threshold,
            no_speech=options.no_speech_threshold,
        ),
        prompt=_tokens(options.prompt, _LAST, vocabulary)[-PROMPT_TOKENS:],
        hotwords=_tokens(options.hotwords, _FIRST, vocabulary)[:PROMPT_TOKENS],
        prefix=_tokens(options.prefix, _FIRST, vocabulary)[:PREFIX_TOKENS],
        recipe=Recipe(
            kind="decode",
            timestamps=not without_timestamps,
            beam_size=beam_size,
            best_of=options.best_of,
            patience=options.patience,
            length_penalty=options.length_penalty,
            repetition_penalty=options.repetition_penalty,
            no_repeat_ngram_size=options.no_repeat_ngram_size,
            suppress_blank=options.suppress_blank,
            suppress_tokens=vocabulary.suppressed(tuple(options.suppress_tokens)),
            max_initial_timestamp=options.max_initial_timestamp,
        ),
    )


def _language(options: Options, settings: Settings, vocabulary: Vocabulary) -> str | None:
    named = options.named_language
    is_open = named is None or options.multilingual
    needs_one = is_open and options.languages and options.on_other_language == "nearest"
    if needs_one and not any(map(vocabulary.knows, options.languages or [])):
        raise InvalidRequest("The model knows none of the languages", param="languages")
    if not vocabulary.multilingual:
        if named not in (None, "en"):
            message = f"The model knows English only, not '{named}'"
            raise InvalidRequest(message, param="language")
        return "en"
    if named is not None:
        if vocabulary.knows(named):
            return named
        message = f"The model does not know the language '{named}'"
        raise InvalidRequest(message, param="language")
    if options.language == AUTO or options.languages:
        return None
    usual = settings.whisper_language
    return usual if usual and vocabulary.knows(usual) else None


def _expects_english(options: Options) -> bool:
    """Whether a text in English is what the request expects; raises InvalidRequest as it wants."""
    if options.named_language is not None and not options.multilingual:
        return True
    return choose_language([ENGLISH_ONLY], options).is_expected


def _tokens(text: str | None, part: slice, vocabulary: Vocabulary) -> tuple[int, ...]:
    """Blank means none: a truthy blank would drop opening words. Only a `part` of a long text is read."""
    stripped = (text or "").strip()[part].strip()
    return tuple(vocabulary.encode(" " + stripped)) if stripped else ()


def vad_options(parameters: VadParameters) -> VadOptions:
    """The contract's VAD parameters as faster-whisper's."""
    longest = parameters.max_speech_duration_s or math.inf
    return VadOptions(**parameters.model_dump() | {"max_speech_duration_s": longest})
