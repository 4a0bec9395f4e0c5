"""Batches of windows for the training: short windows and full ones, at random places in the 30 s."""

import random
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset, get_worker_info

from . import tokens
from .windows import IGNORED, POSITIONS, PROMPT_SHARE, TRANSLATE_SHARE, Composer, Window

CONTEXT = 448  # tokens, prompt and text together
SHORT = ((8.0, 14), (10.0, 11), (13.0, 8))  # seconds and windows in a batch, of about the same cost
FULL = (30.0, 5)
# Steps that leave the encoder as it is, at less than half the cost: full windows, mostly prompted and
# mostly to be translated, which is what the decoder finds hardest.
DECODER_ONLY_SHARE, DECODER_ONLY_PROMPTS, DECODER_ONLY_TRANSLATE = 0.25, 0.7, 0.7
# In half of the windows one earlier token in ten is another one. In what a model has written itself there are
# mistakes too, and behind one it has to write what is heard, not what would follow.
MISTAKEN_WINDOWS, MISTAKEN_TOKENS = 0.5, 0.1
OFFSET_SHARE = 0.7  # short windows placed later in the 30 s; they teach all positions cheaply


@dataclass
class Batch:
    """Windows of one length as tensors; rows are padded with <|endoftext|>."""

    samples: Tensor  # (window, sample)
    sizes: Tensor  # (window,) samples that are of the recording; behind them there is nothing
    inputs: Tensor  # (window, token)
    targets: Tensor  # (window, token), IGNORED where there is no loss
    places: Tensor  # (window, token, 2), -1 where unknown
    spoken: list[tuple[int, list[int]]]  # (row, tokens) of the windows whose words are all known
    offset: int
    decoder_only: bool = False


@dataclass(frozen=True)
class Schedule:
    """The time of a training, and how many batches are of full windows at its begin and end."""

    start: float
    end: float
    full_share: tuple[float, float]

    def progress(self) -> float:
        """Return how far the training is, 0 to 1, by the clock."""
        return min(1.0, max(0.0, (time.time() - self.start) / (self.end - self.start)))


class Batches(IterableDataset[Batch]):
    """An endless stream of batches; each loader process draws its own."""

    def __init__(self, clips: list[Any], seed: int, schedule: Schedule, scale: int = 1) -> None:
        self.clips, self.seed, self.schedule, self.scale = clips, seed, schedule, scale

    def __iter__(self) -> Iterator[Batch]:
        """Draw for ever."""
        process = get_worker_info()
        seed = self.seed * 1000 + (process.id if process else 0)
        composer, rng = Composer(self.clips, seed), random.Random(seed)
        mistakes = torch.Generator().manual_seed(seed)
        while True:
            begin, end = self.schedule.full_share
            decoder_only = rng.random() < DECODER_ONLY_SHARE
            prompts = DECODER_ONLY_PROMPTS if decoder_only else PROMPT_SHARE
            # All or none: a prompt makes every row of its batch longer.
            composer.prompt_share = float(rng.random() < prompts)
            composer.translate_share = DECODER_ONLY_TRANSLATE if decoder_only else TRANSLATE_SHARE
            full = decoder_only or rng.random() < begin + (end - begin) * self.schedule.progress()
            seconds, count = FULL if full else rng.choice(SHORT)
            last = POSITIONS - int(seconds * 50)
            offset = rng.randint(0, last) if rng.random() < OFFSET_SHARE else 0
            windows = [composer.window(seconds, offset) for _ in range(count * self.scale)]
            batch = as_batch(windows, offset)
            yield replace(batch, inputs=mistaken(batch.inputs, mistakes), decoder_only=decoder_only)


def as_batch(windows: list[Window], offset: int) -> Batch:
    """Stack windows of one length."""
    length = min(CONTEXT, max(len(window.inputs) for window in windows))
    samples = torch.from_numpy(np.stack([w.samples for w in windows]).astype(np.float32))
    last = samples.shape[1] // 320 - 1
    inputs = torch.full((len(windows), length), tokens.END)
    targets = torch.full((len(windows), length), IGNORED)
    places = torch.full((len(windows), length, 2), -1)
    for row, window in enumerate(windows):
        size = min(length, len(window.inputs))
        inputs[row, :size] = torch.tensor(window.inputs[:size])
        targets[row, :size] = torch.tensor(window.targets[:size])
        for column, place in enumerate(window.places[:size]):
            if place is not None:
                first, end = min(max(place[0], 0), last - 3), min(max(place[1], 3), last)
                places[row, column] = torch.tensor((first, end))
    spoken = [(row, w.spoken) for row, w in enumerate(windows) if w.spoken is not None]
    sizes = torch.tensor([window.size for window in windows])
    return Batch(samples, sizes, inputs, targets, places, spoken, offset)


def mistaken(inputs: Tensor, rng: torch.Generator) -> Tensor:
    """Put other tokens of the batch's texts in the place of some, as a model's own mistakes."""
    is_text = inputs < tokens.END
    here = is_text & (torch.rand(inputs.shape, generator=rng) < MISTAKEN_TOKENS)
    here &= torch.rand(len(inputs), 1, generator=rng) < MISTAKEN_WINDOWS
    said = inputs[is_text]
    others = said[torch.randint(max(1, len(said)), (int(here.sum()),), generator=rng)]
    return inputs.masked_scatter(here, others)
