"""Samples to a WAV file, as every client has one."""

import wave
from pathlib import Path

import numpy as np

SAMPLE_RATE = 16_000


def write_wav(samples: np.ndarray, path: Path) -> Path:
    """Write samples (float32, mono, 16 kHz) as 16-bit PCM; return `path`."""
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return path
