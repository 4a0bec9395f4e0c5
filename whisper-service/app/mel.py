"""Samples to what a Whisper encoder sees: the log-mel spectrogram of one window.

Samples are padded with silence before the transform, as OpenAI's whisper does; faster-whisper pads
the finished spectrogram with zeros, which no microphone ever produced. The filters are faster-whisper's,
and for equal samples so are the numbers.
"""

from functools import cache

import numpy as np
import numpy.typing as npt
from faster_whisper.feature_extractor import FeatureExtractor

from .audio import SAMPLE_RATE, Samples

N_FFT = 400
FRAME_SAMPLES = 160
"""Samples from one mel frame to the next: 10 ms."""
FRAMES_PER_SECOND = SAMPLE_RATE // FRAME_SAMPLES
WINDOW_SECONDS = 30.0
FULL_FRAMES = round(WINDOW_SECONDS * FRAMES_PER_SECOND)
"""Mel frames of a window of 30 s."""
_FLOOR = 1e-10
_SLAB = 200
"""Frames transformed at once: their numbers fit into a processor's cache."""

Mel = npt.NDArray[np.float32]
"""Log-mel of one window, shape (mels, frames)."""


def log_mel(samples: Samples, n_mels: int, seconds: float = WINDOW_SECONDS) -> Mel:
    """Return the log-mel spectrogram of `samples` padded with silence to `seconds`.

    The shape is (n_mels, seconds * FRAMES_PER_SECOND). ValueError when there are more samples than that, since a
    window that is cut silently loses words.
    """
    size = round(seconds * SAMPLE_RATE)
    if len(samples) > size:
        raise ValueError(f"{len(samples)} samples do not fit into {seconds} seconds")
    padded = np.zeros(N_FFT + size, np.float32)
    padded[N_FFT // 2 : N_FFT // 2 + len(samples)] = samples
    # The transform is centred, so both ends are mirrored, as numpy.pad(mode="reflect") does.
    padded[: N_FFT // 2] = padded[N_FFT : N_FFT // 2 : -1]
    padded[-N_FFT // 2 :] = padded[-N_FFT // 2 - 2 : -N_FFT - 2 : -1]

    frames = np.lib.stride_tricks.sliding_window_view(padded, N_FFT)[:-1:FRAME_SAMPLES]
    spoken = min(len(frames), (len(samples) + N_FFT // 2) // FRAME_SAMPLES + 1)
    mel = np.full((n_mels, len(frames)), _FLOOR, np.float32)
    for start in range(0, spoken, _SLAB):
        end = min(start + _SLAB, spoken)
        spectrum = np.fft.rfft(frames[start:end] * _hann(), axis=-1)
        power = np.square(spectrum.real) + np.square(spectrum.imag)
        mel[:, start:end] = _filters(n_mels) @ power.T
    np.maximum(mel, _FLOOR, out=mel)
    np.log10(mel, out=mel)
    np.maximum(mel, mel.max() - 8.0, out=mel)
    mel += 4.0
    mel /= 4.0
    return mel


@cache
def _filters(n_mels: int) -> npt.NDArray[np.float32]:
    filters = FeatureExtractor.get_mel_filters(SAMPLE_RATE, N_FFT, n_mels)
    return np.asarray(filters, np.float32)


@cache
def _hann() -> npt.NDArray[np.float32]:
    return np.hanning(N_FFT + 1)[:-1].astype(np.float32)
