"""Whisper's log-mel spectrogram in PyTorch, for batches, with a random channel in training."""

import itertools
from functools import cache

import torch
from faster_whisper.feature_extractor import FeatureExtractor
from torch import Tensor
from torch.nn import functional

from .sound import SAMPLE_RATE

FFT, HOP, MELS = 400, 160, 80
CHANNEL_SHARE = 0.5
# How far a random channel bends the spectrum and tilts it from end to end, standard deviations.
CHANNEL_DECADES, TILT_DECADES = 0.35, 0.9
WARP_SHARE = 0.5
WARPS = torch.linspace(0.82, 1.2, 7).tolist()  # tracts shorter and longer than the speaker's
WARP_FROM, WARP_TO = 500.0, 3000.0  # Hz; below and above, a tract is as long as another one each


@cache
def _filters() -> Tensor:
    return torch.from_numpy(FeatureExtractor(feature_size=MELS).mel_filters).float()


@cache
def _warped() -> Tensor:
    """Return filters (warp, mel, bin) that hear a voice as if its vocal tract had another length.

    Throat and mouth apart: low formants move by one of WARPS, high ones by another, those between by both.
    """
    filters = _filters()
    bins = torch.arange(filters.shape[1])
    high = ((bins * SAMPLE_RATE / FFT - WARP_FROM) / (WARP_TO - WARP_FROM)).clamp(0, 1)
    warped = []
    for throat, mouth in itertools.product(WARPS, WARPS):
        at = (bins * (throat + (mouth - throat) * high)).clamp(max=bins[-1])
        low = at.floor().long().clamp(max=len(bins) - 2)
        warped.append(torch.lerp(filters[:, low], filters[:, low + 1], at - low))
    return torch.stack(warped)


def _some_filters(count: int) -> Tensor:
    """Return filters (window, mel, bin), of a share of the windows those of other vocal tracts."""
    warped = _warped()[torch.randint(len(WARPS) ** 2, (count,))]
    return torch.where(torch.rand(count, 1, 1) < WARP_SHARE, warped, _filters())


def _some_channels(count: int) -> Tensor:
    """Return factors of power (window, mel, 1), of a share of the windows other than 1."""
    knots = torch.randn(count, 1, 5) * CHANNEL_DECADES
    knots += torch.randn(count, 1, 1) * torch.linspace(-0.5, 0.5, 5) * TILT_DECADES
    knots *= torch.rand(count, 1, 1) < CHANNEL_SHARE
    curve = functional.interpolate(knots, size=MELS, mode="linear", align_corners=True)
    return 10 ** curve[:, 0, :, None]


def log_mel(samples: Tensor, sizes: Tensor | None = None, *, spoiled: bool = False) -> Tensor:
    """Turn samples (batch, sample) into log-mel (batch, mel, frame of 10 ms).

    Behind the first `sizes` samples of each (batch,) features are 0, as faster-whisper fills up a window that the
    recording does not: no silence, which has other values.
    `spoiled` draws other channels and vocal tracts (VTLP: Jaitly and Hinton, 2013), for the training.
    """
    hann = torch.hann_window(FFT, device=samples.device)
    spectrum = torch.stft(samples, FFT, HOP, window=hann, return_complex=True)[..., :-1]
    real, imaginary = spectrum.real, spectrum.imag
    power = real * real + imaginary * imaginary
    if not spoiled:
        mel = _filters().to(samples.device) @ power
    else:
        mel = _some_filters(len(samples)).to(samples.device) @ power
        mel = mel * _some_channels(len(samples)).to(samples.device)
    log = mel.clamp(min=1e-10).log10()
    log = torch.maximum(log, log.amax((1, 2), keepdim=True) - 8)
    mel = (log + 4) / 4
    if sizes is not None:
        frames = torch.arange(mel.shape[-1], device=mel.device)
        mel = mel * (frames < (sizes[:, None] / HOP).ceil())[:, None]
    return mel
