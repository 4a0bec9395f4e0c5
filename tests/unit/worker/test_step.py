"""What a step makes of what the engine answers, and what it asks of it: an engine that is written down."""

import math
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from house import MICRO
from worker.decoding.attempt import Attempt, Outcome, Recipe
from worker.decoding.step import Step
from worker.decoding.vocabulary import Vocabulary
from worker.errors import ModelUnavailable

START = (50_258, 50_259, 50_359)
PREVIOUS = 50_361
NO_TIMESTAMPS = 50_363
A = 65
"""Some token of text."""


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    """The tokens of the shipped model."""
    return Vocabulary(MICRO, multilingual=True)


@dataclass
class Written:
    """Stands for `Engine`: says as many tokens as it is told to, and keeps what it was asked."""

    tokens: int = 3
    score: float = -0.1
    no_speech_prob: float = 0.0
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    asked: list[dict[str, Any]] = field(default_factory=list)
    prompts: list[list[int]] = field(default_factory=list)

    def encode(self, mels: list[Any], known: list[Any]) -> tuple[Any, list[Any]]:
        self.shapes += [mel.shape for mel in mels]
        return None, [None] * len(mels)

    def generate(self, encoded: Any, prompts: list[list[int]], **options: Any) -> list[Any]:
        self.prompts += prompts
        self.asked.append(options)
        result = SimpleNamespace(
            sequences_ids=[[A] * self.tokens],
            scores=[self.score],
            no_speech_prob=self.no_speech_prob,
        )
        return [result] * len(prompts)


def attempt(
    previous: int = 0, *, timestamps: bool = True, frames: int = 3000, **recipe: Any
) -> Attempt:
    """A window that is told so many tokens of what was said before."""
    told = (PREVIOUS, *[A] * previous) if previous else ()
    last = () if timestamps else (NO_TIMESTAMPS,)
    return Attempt(
        recipe=Recipe("decode", len(told), timestamps=timestamps, **recipe),
        mel=np.zeros((80, frames), np.float32),
        prompt=(*told, *START, *last),
        start=START,
        frames=frames,
        description="test",
    )


def outcome(vocabulary: Vocabulary, engine: Written, asked: Attempt) -> Outcome:
    [found] = Step(engine, vocabulary)([asked])  # type: ignore[arg-type]
    return found


@pytest.mark.parametrize(
    ("previous", "timestamps", "room"),
    [
        (0, True, 224),  # half of the 448 positions
        (0, False, 224),
        (220, True, 224),  # what is left: 448 - 221 - 3 and the one that says the first token
        (221, True, 224),
        (222, True, 223),
        (223, True, 222),
        (220, False, 224),
        (221, False, 223),
        (223, False, 221),
    ],
)
def test_a_text_that_fills_its_room_is_cut_off_and_one_token_less_is_not(
    vocabulary: Vocabulary, previous: int, timestamps: bool, room: int
) -> None:
    asked = attempt(previous, timestamps=timestamps)
    assert outcome(vocabulary, Written(room - 1), asked).cut_off is False
    assert outcome(vocabulary, Written(room), asked).cut_off is True


def test_scores_and_silence_are_told_as_the_engine_says_them(vocabulary: Vocabulary) -> None:
    found = outcome(vocabulary, Written(4, score=-0.5, no_speech_prob=0.25), attempt())
    assert found.tokens == (A, A, A, A)
    assert found.avg_logprob == pytest.approx(-0.4)
    assert found.no_speech_prob == 0.25


@pytest.mark.parametrize(
    ("score", "no_speech_prob", "expected"),
    [(-0.5, 0.0, False), (-2.0, 0.0, True), (-2.0, 0.9, False)],
)
def test_unlikely_text_is_tried_again_unless_nobody_speaks(
    vocabulary: Vocabulary, score: float, no_speech_prob: float, expected: bool
) -> None:
    engine = Written(4, score=score, no_speech_prob=no_speech_prob)
    assert outcome(vocabulary, engine, attempt()).needs_fallback is expected


def test_the_search_at_temperature_0_is_by_beams(vocabulary: Vocabulary) -> None:
    engine = Written()
    outcome(vocabulary, engine, attempt(beam_size=3, patience=2.0, best_of=7))
    [asked] = engine.asked
    assert (asked["beam_size"], asked["patience"]) == (3, 2.0)
    assert "num_hypotheses" not in asked
    assert "sampling_temperature" not in asked


def test_what_a_request_asks_of_the_search_reaches_it(vocabulary: Vocabulary) -> None:
    asked = {
        "length_penalty": 0.7,
        "repetition_penalty": 1.3,
        "no_repeat_ngram_size": 2,
        "suppress_blank": False,
        "suppress_tokens": (-1, 13),
    }
    engine = Written()
    outcome(vocabulary, engine, attempt(max_initial_timestamp=0.5, **asked))
    expected = {**asked, "suppress_tokens": [-1, 13], "max_initial_timestamp_index": 25}
    assert {name: engine.asked[0][name] for name in expected} == expected


def test_above_temperature_0_the_best_of_many_samples_counts(vocabulary: Vocabulary) -> None:
    engine = Written()
    found = outcome(vocabulary, engine, attempt(temperature=0.4, best_of=7, beam_size=3))
    [asked] = engine.asked
    assert (asked["beam_size"], asked["num_hypotheses"]) == (1, 7)
    assert (asked["sampling_topk"], asked["sampling_temperature"]) == (0, 0.4)
    assert "patience" not in asked
    assert found.temperature == 0.4


@pytest.mark.parametrize("numbers", [{"score": math.nan}, {"no_speech_prob": math.nan}])
def test_a_text_whose_probability_is_no_number_is_nobodys(
    vocabulary: Vocabulary, numbers: dict[str, float]
) -> None:
    """Some devices overflow in float16: what comes of it is no text, and JSON has no such number."""
    with pytest.raises(ModelUnavailable, match="WHISPER_COMPUTE_TYPE to float32") as caught:
        outcome(vocabulary, Written(**numbers), attempt())
    assert (caught.value.status, caught.value.code) == (503, "model_unavailable")


@pytest.mark.parametrize("frames", [1000, 1500, 3000])
def test_the_encoder_gets_the_window_as_long_as_it_is(vocabulary: Vocabulary, frames: int) -> None:
    engine = Written()
    outcome(vocabulary, engine, attempt(frames=frames))
    assert engine.shapes == [(80, frames)]
