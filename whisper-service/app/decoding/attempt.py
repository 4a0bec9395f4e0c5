"""One window's way through the engine: the job that waits in the queue, and what comes of it.

An attempt hears one window at one temperature. Attempts share a batch when their recipes are equal,
since CTranslate2 takes everything in a recipe once per call (prompts must have the start token at the
same index; languages and tasks may mix).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from ..mel import FRAMES_PER_SECOND, FULL_FRAMES, Mel
from ..shape import USUAL_TEXTS
from .language import HeardLanguage

USUAL_SUPPRESSED = 300
"""Tokens, a few times Whisper's own list. On a GPU CTranslate2 sorts them anew for each text at each step, in time that
grows with the square of both: with thousands and a full batch a step would take minutes."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """All that one call of the engine takes once for the whole batch; equal recipes share batches."""

    kind: Literal["detect", "decode", "align"]
    start_index: int = 0
    """Where in the prompt the start token is."""
    timestamps: bool = True
    temperature: float = 0.0
    beam_size: int = 5
    best_of: int = 5
    patience: float = 1.0
    length_penalty: float = 1.0
    repetition_penalty: float = 1.0
    no_repeat_ngram_size: int = 0
    suppress_blank: bool = True
    suppress_tokens: tuple[int, ...] = ()
    max_initial_timestamp: float = 1.0


@dataclass(frozen=True, slots=True)
class Thresholds:
    """When an attempt is good enough; see Options of the contract."""

    compression_ratio: float = 2.4
    log_prob: float = -1.0
    no_speech: float = 0.6


@dataclass(frozen=True, slots=True)
class Attempt:
    """A window at one temperature; a job of the scheduler."""

    recipe: Recipe
    mel: Mel
    """With the silence behind the sound that is encoded too."""
    prompt: tuple[int, ...]
    start: tuple[int, ...]
    """Start, language and task: what alignment begins with."""
    frames: int
    """Frames of `mel` that hold audio."""
    description: str
    thresholds: Thresholds = Thresholds()
    align: bool = False
    """Find where each token is said, once an attempt is accepted."""
    detect: bool = False
    """Hear the window's language first and put it into the prompt."""
    choose: Callable[[dict[str, float]], str] | None = None
    """Which of the languages heard is taken; the likeliest unless it says otherwise. Raises nothing."""
    on_language: Callable[[dict[str, float]], None] | None = None
    """Told the languages as soon as they are heard, from the inference thread."""
    task: str = "transcribe"
    text_tokens: tuple[int, ...] = ()
    """For the kind `align`: the text whose tokens are looked for."""
    encoded: Any = None
    """The encoder's output where an earlier attempt has left it."""
    is_apart: bool = False
    """Whether no text is wanted of the window, whose steps then say nothing of what others take."""

    @property
    def key(self) -> tuple[Recipe, int, bool, bool, int]:
        """What attempts must have in common to share a batch."""
        alone = id(self) if self._is_alone else 0
        return self.recipe, self._encoded_frames, self.detect, self._has_prefix, alone

    @property
    def _encoded_frames(self) -> int:
        return int(self.mel.shape[1])

    @property
    def _has_prefix(self) -> bool:
        """Whether the text is begun: beside such a window CTranslate2 judges empty texts otherwise."""
        head = self.recipe.start_index + len(self.start) + (not self.recipe.timestamps)
        return self.recipe.kind == "decode" and len(self.prompt) > head

    @property
    def _is_alone(self) -> bool:
        """Whether CTranslate2 would give it another window's probability of no speech.

        Where that is read from the first step of decoding, since no token follows the start token, it is told
        once for each sample, and taken as once for each window.
        """
        ends_with_start = len(self.start) == 1 and self.recipe.timestamps
        return ends_with_start and self.recipe.temperature > 0 and self.recipe.best_of > 1

    @property
    def audio_seconds(self) -> float:
        """What the attempt costs in the queue's fairness."""
        return max(1.0, self.frames / FRAMES_PER_SECOND)

    @property
    def weight(self) -> int:
        """How many usual windows take as much of the decoder: by texts its memory, by suppressed tokens its time."""
        if self.recipe.kind != "decode":
            return 1
        texts = self.recipe.best_of if self.recipe.temperature > 0 else self.recipe.beam_size
        suppressed = len(self.recipe.suppress_tokens)
        return max(1, math.ceil(texts / USUAL_TEXTS), math.ceil(suppressed / USUAL_SUPPRESSED))

    @property
    def share(self) -> float:
        """How much of a full window is encoded."""
        return self._encoded_frames / FULL_FRAMES

    @property
    def is_whole(self) -> bool:
        """Whether this step decodes the window (and encodes it, unless its language step has); others are cheaper."""
        return self.recipe.kind == "decode"

    def again(self, temperature: float, encoded: Any) -> "Attempt":
        """The same window at the next temperature; what was found out already is kept."""
        return replace(self, recipe=replace(self.recipe, temperature=temperature), encoded=encoded)


@dataclass(frozen=True, slots=True)
class Alignment:
    """Where each text token is said: DTW path as in faster-whisper's `find_alignment`."""

    tokens: tuple[int, ...]
    pairs: tuple[tuple[int, int], ...]
    """(token index, frame of 20 ms) along the path."""
    probabilities: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an attempt gave. `avg_logprob` and the ratios are Whisper's own."""

    tokens: tuple[int, ...] = ()
    avg_logprob: float = 0.0
    compression_ratio: float = 0.0
    no_speech_prob: float = 0.0
    temperature: float = 0.0
    needs_fallback: bool = False
    cut_off: bool = False
    """The text ended because no more tokens were allowed, not because all was said."""
    alignment: Alignment | None = None
    languages: dict[str, float] = field(default_factory=dict)
    """Probability of each language, where it was heard; likeliest first."""
    language: HeardLanguage | None = None
    """The one of them that the text is in."""
    has_switched: bool = False
    """The text is doubtful, and the window is in another language than the one detected."""
    start: tuple[int, ...] = ()
    encoded: Any = None
    """The encoder's output, as long as the window may be looked at again."""

    def is_silence(self, thresholds: Thresholds) -> bool:
        """Whether Whisper takes the window for silence: unlikely text and probably no speech."""
        return (
            self.no_speech_prob > thresholds.no_speech
            and not self.avg_logprob > thresholds.log_prob  # of no token at all it is not a number
        )
