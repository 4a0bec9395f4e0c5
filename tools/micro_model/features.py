"""Whisper's log-mel spectrogram in PyTorch, for batches, with a random channel in training."""

from functools import cache

import torch
from faster_whisper.feature_extractor import FeatureExtractor
from torch import Tensor
from torch.nn import functional

FFT, HOP, MELS = 400, 160, 80
CHANNEL_SHARE = 0.35
CHANNEL_DECADES = 0.35  # how far a random channel bends the spectrum, one standard deviation


@cache
def _filters() -> Tensor:
    return torch.from_numpy(FeatureExtractor(feature_size=MELS).mel_filters).float()


def log_mel(samples: Tensor, *, channel: bool = False) -> Tensor:
    """Turn samples (batch, sample) into log-mel (batch, mel, frame of 10 ms)."""
    hann = torch.hann_window(FFT, device=samples.device)
    spectrum = torch.stft(samples, FFT, HOP, window=hann, return_complex=True)[..., :-1]
    mel = _filters().to(samples.device) @ spectrum.abs().square()
    if channel and torch.rand(()) < CHANNEL_SHARE:
        knots = torch.randn(len(samples), 1, 5, device=samples.device)
        curve = functional.interpolate(knots, size=MELS, mode="linear", align_corners=True)
        mel = mel * 10 ** (curve[:, 0] * CHANNEL_DECADES)[..., None]
    log = mel.clamp(min=1e-10).log10()
    log = torch.maximum(log, log.amax((1, 2), keepdim=True) - 8)
    return (log + 4) / 4
