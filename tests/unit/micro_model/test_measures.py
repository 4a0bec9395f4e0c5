"""Word errors, sentence counts and times are counted as literature counts them."""

import pytest

from tools.micro_model.clips import Clip
from tools.micro_model.measures import Tally, word_errors, word_starts


@pytest.mark.parametrize(
    ("reference", "written", "errors", "words"),
    [
        ("Good morning, everyone.", "good morning everyone", 0, 3),
        ("one two three", "one three", 1, 3),
        ("one two three", "one two two three", 1, 3),
        ("one two three", "four five six", 3, 3),
        ("", "hello there", 2, 0),
        ("Wir brauchen fünf.", "", 3, 3),
    ],
)
def test_word_errors(reference: str, written: str, errors: int, words: int) -> None:
    assert word_errors(reference, written) == (errors, words)


def test_a_tally_gives_error_right_sentences_and_times() -> None:
    tally = Tally()
    tally.add("one two three four", "one two three four")
    tally.add("one two three four", "one two three five")
    tally.times = [0.01, 0.05, 0.3]
    assert tally.error == 0.125
    assert tally.summary() == "0.125 of 8 words, 1/2 right, times 50 ms, 67% within 100 ms"


def test_word_starts_are_those_that_the_voice_told() -> None:
    marks = [(0, 0), (5, 8000), (13, 16000)]
    clip = Clip("en", "Good morning.", "Good morning.", "en", marks, 0, 16000)
    assert word_starts(clip) == [("Good", 0.0), ("morning.", 0.5)]


def test_a_word_without_a_mark_of_its_own_is_left_out_and_those_behind_it_are_kept() -> None:
    marks = [(0, 0), (11, 8000), (16, 16000)]  # the voice said "Out of the" without a break
    clip = Clip("en", "Out of the wood.", "Out of the wood.", "en", marks, 0, 16000)
    assert word_starts(clip) == [("Out", 0.0), ("wood.", 0.5)]
