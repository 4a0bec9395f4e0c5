"""What happens to speech on its way to a recording: noise, telephones, codecs, clipping, tones.

All functions take and return float32 mono at 16 kHz, of unchanged length, and draw from `rng`.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

SAMPLE_RATE = 16000
TELEPHONE_RATE = 8000
U_LAW = 255  # ITU-T G.711
CLEAN_SHARE = 0.3  # of recordings

Samples = NDArray[np.floating[Any]]


def noise(size: int, rng: np.random.Generator) -> Samples:
    """Return noise of power 1, white or leaning to the low end (up to 1/f^1.6 in power) or the high one (f).

    To a dull voice white noise is what the last is to a clear one.
    """
    white = rng.standard_normal(size, dtype=np.float32)
    if rng.random() < 0.35:
        return white
    spectrum = np.fft.rfft(white[: 1 << 15])
    spectrum /= np.maximum(1, np.arange(len(spectrum))) ** rng.uniform(-0.5, 0.8)
    block = np.fft.irfft(spectrum)
    return np.resize(block / (block.std() + 1e-9), size).astype(np.float32)


def with_noise(samples: Samples, rng: np.random.Generator) -> Samples:
    """Add noise at 3 to 25 dB below the speech."""
    heard = int((np.abs(samples) > 1e-3 * np.abs(samples).max()).sum())  # not the pauses
    power = float((samples**2).sum()) / max(1, heard)
    level = np.sqrt(power / 10 ** (rng.uniform(3, 25) / 10))
    return samples + noise(len(samples), rng) * np.float32(level)


def clipped(samples: Samples, rng: np.random.Generator) -> Samples:
    """Cut off what is louder than 5 to 80 % of the peak."""
    top = np.abs(samples).max() * 10 ** rng.uniform(-1.3, -0.1)
    return np.clip(samples, -top, top)


def through_telephone(samples: Samples, rng: np.random.Generator) -> Samples:
    """Send through 8 kHz u-law, half of the time without what is under 300 Hz."""
    low = 300.0 if rng.random() < 0.5 else 0.0
    narrow = _band(samples, low, TELEPHONE_RATE / 2, TELEPHONE_RATE)
    peak = np.abs(narrow).max() + 1e-6
    gain = rng.uniform(0.1, 1) / peak
    loud = narrow * gain
    companded = np.sign(loud) * np.log1p(U_LAW * np.abs(loud)) / np.log1p(U_LAW)
    companded = np.round(companded * 127) / 127
    expanded = np.sign(companded) * np.expm1(np.abs(companded) * np.log1p(U_LAW)) / U_LAW / gain
    return _band(expanded.astype(np.float32), 0, TELEPHONE_RATE / 2, SAMPLE_RATE, TELEPHONE_RATE)


def through_codec(samples: Samples, rng: np.random.Generator) -> Samples:
    """Lose the high end, as at low bit rates."""
    return _band(samples, rng.uniform(0, 150), rng.uniform(3200, 7500), SAMPLE_RATE)


def _band(samples: Samples, low: float, high: float, to: int, rate: int = SAMPLE_RATE) -> Samples:
    """Keep the frequencies from low to high, at another sample rate."""
    spectrum = np.fft.rfft(samples)
    frequencies = np.arange(len(spectrum)) * rate / len(samples)
    spectrum[(frequencies < low) | (frequencies > high)] = 0
    size = len(samples) * to // rate
    return (np.fft.irfft(spectrum, size) * (to / rate)).astype(np.float32)


def tones(size: int, rng: np.random.Generator) -> Samples:
    """Return one to four steady or pulsed tones."""
    at = np.arange(size) / SAMPLE_RATE
    sound = np.zeros(size)
    for _ in range(rng.integers(1, 5)):
        sound += np.sin(2 * np.pi * rng.uniform(80, 2500) * at) * 10 ** rng.uniform(-2, -0.6)
    if rng.random() < 0.6:
        sound *= np.sin(2 * np.pi * rng.uniform(0.3, 5) * at) > rng.uniform(-0.6, 0.6)
    return sound.astype(np.float32)


def nothing_said(size: int, rng: np.random.Generator) -> Samples:
    """Return silence, noise, tones or tones in noise."""
    kind = rng.choice(["silence", "noise", "tones", "both"], p=[0.1, 0.4, 0.25, 0.25])
    sound = tones(size, rng) if kind in ("tones", "both") else np.zeros(size, np.float32)
    if kind in ("noise", "both"):
        sound += noise(size, rng) * np.float32(10 ** rng.uniform(-5, -1.3))
    return sound * np.float32(10 ** rng.uniform(-1, 0))


def dulled(samples: Samples, rng: np.random.Generator) -> Samples:
    """Let what is high grow weaker, 2 to 10 dB an octave above a corner: a muffled voice or microphone."""
    spectrum = np.fft.rfft(samples)
    frequencies = np.arange(len(spectrum)) * SAMPLE_RATE / len(samples)
    octaves = np.log2(np.maximum(1, frequencies / rng.uniform(300, 2000)))
    spectrum *= 10 ** (-rng.uniform(2, 10) / 20 * octaves)
    heard: Samples = np.fft.irfft(spectrum, len(samples)).astype(np.float32)
    return heard * np.float32(np.abs(samples).max() / (np.abs(heard).max() + 1e-9))


def in_a_room(samples: Samples, rng: np.random.Generator) -> Samples:
    """Add a few echoes, 10 to 150 ms late and quieter than what is said, or one nearly as loud."""
    heard, loudest = samples.copy(), 0.5
    count = rng.integers(1, 4)
    if rng.random() < 0.4:
        count, loudest = 1, 0.9
    for _ in range(count):
        late = int(rng.uniform(0.01, 0.15) * SAMPLE_RATE)
        heard[late:] += samples[:-late] * np.float32(rng.uniform(0.05, loudest))
    return heard


def recorded(samples: Samples, rng: np.random.Generator) -> Samples:
    """Return speech as it may arrive: in three of ten clean, else through some of the above, or none."""
    if rng.random() < CLEAN_SHARE:
        return _as_loud(samples, rng)
    if rng.random() < 0.2:
        samples = dulled(samples, rng)
    if rng.random() < 0.3:
        samples = in_a_room(samples, rng)
    if rng.random() < 0.3:
        samples = clipped(samples, rng)
    if rng.random() < 0.83:  # so that noise is in six of ten
        samples = with_noise(samples, rng)
    draw = rng.random()
    if draw < 0.2:
        samples = through_telephone(samples, rng)
    elif draw < 0.29:
        samples = through_codec(samples, rng)
    return _as_loud(samples, rng)


def _as_loud(samples: Samples, rng: np.random.Generator) -> Samples:
    """Set the volume, at times very low, half of the time in the steps of 16 bits."""
    gain = rng.uniform(-1.2, 0.1) if rng.random() < 0.8 else rng.uniform(-3, -1.2)
    samples = samples * np.float32(10**gain)
    return np.round(samples * 32768) / 32768 if rng.random() < 0.5 else samples
