"""Sets of clips: spoken sentences with their texts and word times, as `synthesize.py` makes them.

A set is two files: `NAME.npy`, all samples one after the other (int16, 16 kHz), and `NAME.jsonl`, one
clip a line.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Clip:
    """One sentence of a set: its texts, and where its samples are in the set's array."""

    language: str
    text: str
    english: str
    voice: str
    marks: list[tuple[int, int]]
    """(characters said, sample), see `voices.Speech`."""
    first: int
    size: int


def save_set(path: Path, clips: Iterable[Clip], samples: NDArray[np.int16]) -> None:
    """Write a set; each clip says where its samples are."""
    np.save(path.with_suffix(".npy"), samples)
    lines = "".join(json.dumps(asdict(clip), ensure_ascii=False) + "\n" for clip in clips)
    path.with_suffix(".jsonl").write_text(lines, encoding="utf-8")


def load_set(path: Path) -> Iterator[tuple[Clip, NDArray[np.int16]]]:
    """Yield the clips of a set with their samples (views of one array)."""
    samples = np.load(path.with_suffix(".npy"))
    for line in path.with_suffix(".jsonl").read_text(encoding="utf-8").splitlines():
        clip = Clip(**json.loads(line))
        yield clip, samples[clip.first : clip.first + clip.size]
