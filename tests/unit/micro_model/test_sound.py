"""Bad ways to record keep the length of a sound and do to it what they say."""

from collections.abc import Callable

import numpy as np
import pytest

from tools.micro_model import sound

Way = Callable[[sound.Samples, np.random.Generator], sound.Samples]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(3)


def tone(hertz: float) -> sound.Samples:
    return np.sin(2 * np.pi * hertz * np.arange(16000) / 16000).astype(np.float32)


def power(samples: sound.Samples) -> float:
    return float((samples**2).mean())


@pytest.mark.parametrize(
    "way",
    [
        sound.with_noise,
        sound.clipped,
        sound.through_telephone,
        sound.through_codec,
        sound.dulled,
        sound.in_a_room,
        sound.recorded,
    ],
)
def test_every_way_keeps_length_and_type(way: Way, rng: np.random.Generator) -> None:
    for _ in range(10):
        after = way(tone(440), rng)
        assert (after.shape, after.dtype) == ((16000,), np.float32)


def test_a_telephone_passes_speech_and_drops_what_is_above_4_khz(rng: np.random.Generator) -> None:
    assert power(sound.through_telephone(tone(1000), rng)) == pytest.approx(0.5, rel=0.05)
    assert power(sound.through_telephone(tone(6000), rng)) < 0.001


def test_noise_is_at_least_3_db_below_the_speech(rng: np.random.Generator) -> None:
    clean = tone(440)
    for _ in range(20):
        added = sound.with_noise(clean, rng) - clean
        assert 0 < power(added) < power(clean) / 1.9


def test_clipping_lowers_the_peak_and_keeps_the_rest(rng: np.random.Generator) -> None:
    after = sound.clipped(tone(440), rng)
    assert 0.04 < np.abs(after).max() < 0.8
    assert np.abs(after - tone(440)).min() == 0


def test_noise_is_as_loud_beside_speech_with_long_pauses() -> None:
    pauses = np.pad(tone(440), (0, 160_000))
    added, beside = (
        sound.with_noise(clean, np.random.default_rng(3)) - clean for clean in (tone(440), pauses)
    )
    assert power(beside) == pytest.approx(power(added), rel=0.05)


def test_a_dull_voice_keeps_what_is_low_and_loses_what_is_high(rng: np.random.Generator) -> None:
    clear = tone(200) + tone(6000)
    for _ in range(20):
        spectrum = np.abs(np.fft.rfft(sound.dulled(clear, rng)))
        assert 1.2 < spectrum[200] / spectrum[6000] < 10 ** (10 / 20 * 4.4)


def test_tones_have_few_frequencies(rng: np.random.Generator) -> None:
    spectrum = np.abs(np.fft.rfft(sound.tones(16000, rng)))
    assert (spectrum > spectrum.max() / 2).sum() < 20


def test_nothing_said_is_at_times_perfectly_silent(rng: np.random.Generator) -> None:
    silent = [not sound.nothing_said(800, rng).any() for _ in range(100)]
    assert 1 <= sum(silent) <= 25


def test_a_room_answers_a_click_with_a_few_quieter_ones(rng: np.random.Generator) -> None:
    click = np.zeros(16000, np.float32)
    click[100] = 1.0
    heard = sound.in_a_room(click, rng)
    echoes = np.flatnonzero(heard)[1:]
    assert heard[100] == 1.0
    assert 1 <= len(echoes) <= 3
    assert echoes.min() >= 100 + 160
    assert echoes.max() <= 100 + 2400
    assert heard[echoes].max() <= 1.0
