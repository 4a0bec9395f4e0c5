"""What the inference thread does with a batch: encode, generate, judge, align."""

import dataclasses
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..engine import LEAST_ALIGNED_FRAMES, Engine, OutOfMemory
from ..errors import ModelUnavailable
from ..scheduler import BatchTooLarge
from .attempt import Alignment, Attempt, Outcome
from .ladder import average_logprob, compression_ratio, needs_fallback
from .timestamps import split_by_timestamps
from .vocabulary import CONTEXT_TOKENS, Vocabulary

LEAST_TEMPERATURE = 1e-4
"""At which sampling is greedy already; divided by much less, logits are no numbers any more."""
MOST_NEW_TOKENS = CONTEXT_TOKENS // 2
"""Text tokens of a window at most, as in the reference; CTranslate2 halves its `max_length` itself."""


@dataclass(frozen=True, slots=True)
class Step:
    """Runs batches of attempts on one engine; given to the scheduler."""

    engine: Engine
    vocabulary: Vocabulary

    def __call__(self, batch: list[Attempt]) -> list[Outcome]:
        """One outcome for each attempt.

        Raises BatchTooLarge when memory does not suffice, ModelUnavailable for what is no number.
        """
        try:
            return self._run(batch)
        except OutOfMemory as exc:
            raise BatchTooLarge(str(exc)) from exc

    def _run(self, batch: list[Attempt]) -> list[Outcome]:
        recipe = batch[0].recipe
        encoded, each = self.engine.encode(
            [attempt.mel for attempt in batch], [attempt.encoded for attempt in batch]
        )
        match recipe.kind:
            case "detect":
                outcomes = [Outcome(languages=heard) for heard in self._detect(encoded)]
            case "align":
                found = self._align(encoded, batch, [attempt.text_tokens for attempt in batch])
                outcomes = [Outcome(alignment=alignment) for alignment in found]
            case "decode":
                outcomes = self._decode(encoded, batch)
        return [
            dataclasses.replace(outcome, encoded=own)
            for outcome, own in zip(outcomes, each, strict=True)
        ]

    def _detect(self, encoded: Any) -> list[dict[str, float]]:
        return [
            {token[2:-2]: probability for token, probability in ranking}
            for ranking in self.engine.detect_language(encoded)
        ]

    def _decode(self, encoded: Any, batch: list[Attempt]) -> list[Outcome]:
        heard: list[dict[str, float]] = [{} for _ in batch]
        if batch[0].detect:
            heard = self._detect(encoded)
            batch = [
                self._in_language(attempt, languages)
                for attempt, languages in zip(batch, heard, strict=True)
            ]
            for attempt, languages in zip(batch, heard, strict=True):
                if attempt.on_language is not None:
                    attempt.on_language(languages)
        results = self._generate(encoded, batch)
        outcomes = [
            self._judge(attempt, result, languages)
            for attempt, result, languages in zip(batch, results, heard, strict=True)
        ]
        return self._with_alignments(encoded, batch, outcomes)

    def _in_language(self, attempt: Attempt, languages: dict[str, float]) -> Attempt:
        language = next(iter(languages)) if attempt.choose is None else attempt.choose(languages)
        start = tuple(self.vocabulary.start(language, attempt.task))
        at = attempt.recipe.start_index
        prompt = attempt.prompt[:at] + start + attempt.prompt[at + len(start) :]
        return dataclasses.replace(attempt, prompt=prompt, start=start)

    def _generate(self, encoded: Any, batch: list[Attempt]) -> Sequence[Any]:
        recipe = batch[0].recipe
        search: dict[str, Any] = {"beam_size": recipe.beam_size, "patience": recipe.patience}
        if recipe.temperature > 0:
            search = {
                "beam_size": 1,
                "num_hypotheses": recipe.best_of,
                "sampling_topk": 0,
                "sampling_temperature": max(recipe.temperature, LEAST_TEMPERATURE),
            }
        return self.engine.generate(
            encoded,
            [list(attempt.prompt) for attempt in batch],
            length_penalty=recipe.length_penalty,
            repetition_penalty=recipe.repetition_penalty,
            no_repeat_ngram_size=recipe.no_repeat_ngram_size,
            max_length=CONTEXT_TOKENS,
            return_scores=True,
            return_no_speech_prob=True,
            suppress_blank=recipe.suppress_blank,
            suppress_tokens=list(recipe.suppress_tokens),
            max_initial_timestamp_index=round(recipe.max_initial_timestamp / 0.02),
            **search,
        )

    def _judge(self, attempt: Attempt, result: Any, languages: dict[str, float]) -> Outcome:
        # The score of no text at all may be 0 / 0.
        has_text = bool(result.sequences_ids[0])
        if (has_text and math.isnan(result.scores[0])) or math.isnan(result.no_speech_prob):
            raise ModelUnavailable(
                "The model's numbers overflow on this device: set WHISPER_COMPUTE_TYPE to float32",
                param="model",
            )
        tokens = tuple(result.sequences_ids[0])
        recipe = attempt.recipe
        avg_logprob = average_logprob(result.scores[0], len(tokens), recipe.length_penalty)
        ratio = compression_ratio(self.vocabulary.decode(tokens).strip())
        last_start = recipe.start_index + len(attempt.start) - 1 + (not recipe.timestamps)
        room = min(MOST_NEW_TOKENS, CONTEXT_TOKENS - last_start)
        return Outcome(
            tokens=tokens,
            avg_logprob=avg_logprob,
            compression_ratio=ratio,
            no_speech_prob=result.no_speech_prob,
            temperature=recipe.temperature,
            needs_fallback=needs_fallback(
                ratio=ratio,
                avg_logprob=avg_logprob,
                no_speech_prob=result.no_speech_prob,
                thresholds=attempt.thresholds,
            ),
            cut_off=len(tokens) >= room,
            languages=languages,
            start=attempt.start,
        )

    def _with_alignments(
        self, encoded: Any, batch: list[Attempt], outcomes: list[Outcome]
    ) -> list[Outcome]:
        wanted = [
            attempt.align
            and not outcome.needs_fallback
            and not outcome.is_silence(attempt.thresholds)
            for attempt, outcome in zip(batch, outcomes, strict=True)
        ]
        if not any(wanted):
            return outcomes
        texts = [
            self.spoken(outcome.tokens, attempt.frames) if wants else ()
            for attempt, outcome, wants in zip(batch, outcomes, wanted, strict=True)
        ]
        alignments = self._align(encoded, batch, texts)
        return [
            dataclasses.replace(outcome, alignment=alignment)
            for outcome, alignment in zip(outcomes, alignments, strict=True)
        ]

    def spoken(self, tokens: Sequence[int], frames: int) -> tuple[int, ...]:
        """Text tokens of the finished segments of a window: those that are aligned."""
        split = split_by_timestamps(
            tokens, timestamp_begin=self.vocabulary.timestamp_begin, seek=0, frames=frames
        )
        every = itertools.chain.from_iterable(draft.tokens for draft in split.drafts)
        return tuple(token for token in every if token < self.vocabulary.eot)

    def _align(
        self, encoded: Any, batch: list[Attempt], texts: Sequence[tuple[int, ...]]
    ) -> list[Alignment | None]:
        """Align each text with its window; one call for each language and task."""
        found: list[Alignment | None] = [None] * len(batch)
        for start in dict.fromkeys(attempt.start for attempt in batch):
            members = [n for n, attempt in enumerate(batch) if attempt.start == start and texts[n]]
            if not members:
                continue
            results = self.engine.align(
                encoded,
                members,
                list(start),
                [list(texts[n]) for n in members],
                [max(LEAST_ALIGNED_FRAMES, batch[n].frames) for n in members],
            )
            for n, result in zip(members, results, strict=True):
                found[n] = Alignment(
                    tokens=texts[n],
                    pairs=tuple(result.alignments),
                    probabilities=tuple(result.text_token_probs),
                )
        return found
