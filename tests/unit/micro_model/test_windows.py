"""Training windows carry sound, tokens and places that fit each other."""

from pathlib import Path

import numpy as np
import pytest

from tools.micro_model import tokens, windows
from tools.micro_model.clips import Clip, load_set, save_set
from tools.micro_model.windows import IGNORED, LONGEST_PROMPT, Composer, Window

SENTENCES = {"en": "Good morning.", "de": "Guten Morgen.", "fr": "Bonjour.", "es": "Buenos días."}
SECOND = 16000


@pytest.fixture
def composer(tmp_path: Path) -> Composer:
    """A composer of four sentences of one second of noise, with marks in the middle of each."""
    noise = np.random.default_rng(1).integers(-9000, 9000, 4 * SECOND).astype(np.int16)
    clips = [
        Clip(language, text, "Good morning.", f"voice {language}",
             [(0, 0), (len(text) // 2, SECOND // 2), (len(text), SECOND)], index * SECOND, SECOND)
        for index, (language, text) in enumerate(SENTENCES.items())
    ]  # fmt: skip
    save_set(tmp_path / "some", clips, noise)
    return Composer(list(load_set(tmp_path / "some")), seed=1)


def drawn(composer: Composer, seconds: float, count: int = 60, offset: int = 0) -> list[Window]:
    return [composer.window(seconds, offset) for _ in range(count)]


def test_a_set_is_read_as_it_was_written(tmp_path: Path) -> None:
    clip = Clip("de", "Grüß Gott.", "Hello.", "de+m1", [(0, 0), (10, 5)], 2, 5)
    save_set(tmp_path / "one", [clip], np.arange(10, dtype=np.int16))
    ((read, samples),) = load_set(tmp_path / "one")
    assert (read.text, read.voice, read.first, read.size) == ("Grüß Gott.", "de+m1", 2, 5)
    assert samples.tolist() == [2, 3, 4, 5, 6]


def test_each_input_has_one_target_and_one_place(composer: Composer) -> None:
    for window in drawn(composer, 30):
        assert len(window.inputs) == len(window.targets) == len(window.places) <= 448
        assert window.samples.shape == (30 * SECOND,)
        assert window.targets[-1] == tokens.END


def test_targets_are_the_inputs_one_token_later(composer: Composer) -> None:
    kinds = set()
    for window in drawn(composer, 13):
        if tokens.NO_SPEECH in window.targets:
            continue  # nothing is said: a test of its own
        start = window.inputs.index(tokens.START)
        following = [*window.inputs[start + 1 :], tokens.END]
        learnt = [IGNORED if token in windows.FORCED else token for token in following]
        assert window.targets == [IGNORED] * start + learnt
        kinds.add((start > 0, tokens.NO_TIMESTAMPS in window.inputs))
    assert len(kinds) == 4, "with a prompt and without, with timestamps and without"


def test_timestamps_rise_and_begin_at_the_windows_place(composer: Composer) -> None:
    timed = 0
    for window in drawn(composer, 10, offset=1000):
        start = window.inputs.index(tokens.START)
        times = [t for t in window.targets[start:] if t >= tokens.FIRST_TIMESTAMP]
        assert times == sorted(times)
        if times and tokens.NO_SPEECH not in window.targets:
            timed += 1
            assert times[0] >= tokens.timestamp(1000)
    assert timed > 10


def test_some_full_windows_end_in_a_pause_as_the_service_cuts_them(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for share in ("PAUSED_SHARE", "TIMESTAMPS_SHARE", "SILENCE_SHARE"):
        monkeypatch.setattr(windows, share, 1.0)
    for window in drawn(composer, 30):
        if tokens.NO_SPEECH in window.targets:
            continue
        assert window.spoken is not None, "no sentence is cut"
        last = max(token for token in window.targets if token >= tokens.FIRST_TIMESTAMP)
        end = (last - tokens.timestamp(0)) * windows.STEP
        assert end > 12 * SECOND
        assert not window.samples[end + SECOND :].any(), "silence behind"


@pytest.mark.parametrize("translated", [False, True])
def test_a_token_is_heard_while_its_sentence_is(
    composer: Composer, monkeypatch: pytest.MonkeyPatch, translated: bool
) -> None:
    monkeypatch.setattr(windows, "TIMESTAMPS_SHARE", 1.0)  # they tell when a sentence is said
    composer.translate_share = float(translated)
    heard = 0
    for window in drawn(composer, 20, offset=100):
        start = window.inputs.index(tokens.START)
        sentence: list[tuple[int, int]] = []
        times: list[int] = []
        for place, target in zip(window.places[start:], window.targets[start:], strict=True):
            if target >= tokens.FIRST_TIMESTAMP:
                times.append(target - tokens.timestamp(100))
                if len(times) % 2 == 0:
                    begin, end = times[-2:]
                    assert sentence
                    for first, last in sentence:
                        assert begin - windows.LOOSE <= first < last <= end + windows.LOOSE
                    heard += len(sentence)
                    sentence = []
            elif 0 <= target < tokens.END:
                assert place is not None
                sentence.append(place)
        assert not sentence, "each token stands between the times of its sentence"
    assert heard > 500


def test_words_are_looked_for_close_to_where_the_voice_told_them(composer: Composer) -> None:
    marks = [(0, 0), (4, 3200), (10, 16000)]  # "The" from 0, "books." from 0.2 s to 1 s
    clip = Clip("en", "The books.", "The books.", "en+m1", marks, 0, 16000)
    sentence = windows._Sentence(clip, first=100, last=150, speed=1.0)
    the, books, end = composer._places(sentence, composer.tokens.encode("The books."))
    assert the == (98, 112)
    assert books[0] == 108
    assert end[1] == 152


def test_a_translated_word_is_looked_for_where_its_counterpart_is_said(composer: Composer) -> None:
    text, english = "Der Preis beträgt zehn Dollar.", "The price is ten dollars."
    marks = [(0, 0), (4, 3200), (10, 6400), (18, 12800), (23, 16000), (30, 32000)]
    clip = Clip("de", text, english, "de+m1", marks, 0, 32000)
    sentence = windows._Sentence(clip, first=0, last=100, speed=1.0)
    places = composer._translated_places(sentence, composer.tokens.encode(english))
    anywhere = (-6, 106)  # "zehn" and the space behind it are said from 0.8 s to 1 s
    assert places == [anywhere, anywhere, anywhere, (34, 54), anywhere, anywhere]


def test_earlier_text_is_no_longer_than_whisper_keeps_and_is_not_learnt(composer: Composer) -> None:
    prompted = [w for w in drawn(composer, 13) if w.inputs[0] == tokens.PREVIOUS]
    assert prompted
    for window in prompted:
        start = window.inputs.index(tokens.START)
        assert 1 < start <= LONGEST_PROMPT + 1
        assert set(window.targets[: start - 1]) == {IGNORED}


def test_prompts_have_timestamps_as_earlier_windows_leave_them(composer: Composer) -> None:
    heads = [w.inputs[: w.inputs.index(tokens.START)] for w in drawn(composer, 13, 200)]
    assert any(token >= tokens.FIRST_TIMESTAMP for head in heads for token in head)


def test_where_nothing_is_said_no_text_is_learnt(
    composer: Composer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(windows, "NOTHING_SHARE", 1.0)
    starts = set()
    for window in drawn(composer, 8, 20):
        assert window.spoken == []
        starts.add(start := window.inputs.index(tokens.START))
        assert window.targets[start] == tokens.NO_SPEECH
        learnt = {target for target in window.targets if target != IGNORED}
        assert learnt == {tokens.NO_SPEECH, tokens.END}
    assert 0 in starts
    assert len(starts) > 1, "behind earlier text too"


def test_a_recording_ends_behind_what_is_said_often_before_its_window(composer: Composer) -> None:
    sizes, fillings = [], set()
    for window in drawn(composer, 30):
        last = max((t for t in window.targets if t >= tokens.FIRST_TIMESTAMP), default=0)
        assert (last - tokens.FIRST_TIMESTAMP) * windows.STEP <= window.size <= 30 * SECOND
        sizes.append(window.size)
        if window.samples[:SECOND].any():
            fillings.add((window.size == 30 * SECOND, bool(window.samples[-SECOND:].any())))
    assert 10 < sizes.count(30 * SECOND) < 55
    assert (True, False) in fillings, "at times with silence"


def test_the_same_seed_draws_the_same_windows(composer: Composer) -> None:
    clips = [clip for pool in composer.by_language.values() for clip in pool]
    first, second = (Composer(clips, seed=7).window(30) for _ in range(2))
    assert first.inputs == second.inputs
    np.testing.assert_array_equal(first.samples, second.samples)


def test_a_faster_clip_is_shorter() -> None:
    samples = np.zeros(1000, np.int16)
    assert len(windows._at_speed(samples, 1.25)) == 800
