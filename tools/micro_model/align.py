"""Chooses the alignment heads of a model folder by measuring word times, and stores them in its config.

    python -m tools.micro_model.align MODEL --unseen CLIPS

Cross-attention heads that follow the sound tell when each word is heard. Which ones do is measured: the
known text of each clip is aligned by one head, and the word starts compared with those that the voice
told. Then the best head is joined by others as long as the error falls.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

import ctranslate2
import numpy as np
from faster_whisper.audio import pad_or_trim
from faster_whisper.feature_extractor import FeatureExtractor

from . import tokens
from .clips import Clip, load_set
from .evaluate import LEAD, Spoken, padded
from .model_file import read_model
from .reference import dimensions, to_reference
from .sound import SAMPLE_RATE

Heads = list[list[int]]

FRAME = 0.02  # seconds of one position
WORTH = 0.98
"""A further head must bring the error below this share. Heads that gain less follow the sound in single sentences, and
put words into the silence between two (micro's with a head of the first layer did)."""


class Aligner:
    """Measures how well sets of heads tell word starts, on clips with known ones."""

    def __init__(self, model: Path, clips: Sequence[Spoken]) -> None:
        self.folder, self.clips = model, clips
        self.tokens = tokens.Tokens(model)
        extract = FeatureExtractor()
        mels = (pad_or_trim(extract(padded(x))[:, :-1]) for _, x in clips)  # as in faster-whisper
        self.features = [
            ctranslate2.StorageView.from_array(np.ascontiguousarray(m[None])) for m in mels
        ]

    def error(self, heads: Heads) -> float:
        """Return the mean error of word starts in seconds, each error counted as at most 1 s."""
        store_heads(self.folder, heads)
        model = ctranslate2.models.Whisper(str(self.folder), compute_type="int8", intra_threads=1)
        errors: list[float] = []
        for (clip, spoken), features in zip(self.clips, self.features, strict=True):
            start = [tokens.START, self.tokens.languages[clip.language], tokens.TRANSCRIBE]
            text = self.tokens.encode(clip.text)
            frames = (len(padded(spoken)) // 160) // 2 * 2
            (aligned,) = model.align(features, start, [text], frames, median_filter_width=7)
            errors += self._errors(clip, text, aligned.alignments)
        return float(np.mean(np.minimum(errors, 1.0)))

    def _errors(self, clip: Clip, text: list[int], path: list[tuple[int, int]]) -> Iterator[float]:
        """Compare the first frame of each word's first token with the voice's own mark."""
        frames: dict[int, int] = {}
        for token, frame in path:
            frames.setdefault(token, frame)
        # A word's place in the text is that of its first token in " text", whose space it has.
        sizes = [self.tokens.characters(token) for token in text]
        places = {at: index for index, at in enumerate(np.cumsum([0, *sizes[:-1]]).tolist())}
        for at, sample in clip.marks[1:-1]:
            index = places.get(at)
            if index is not None and index in frames:
                yield abs(frames[index] * FRAME - LEAD - sample / SAMPLE_RATE)


def choose_heads(aligner: Aligner, layers: int, heads: int) -> tuple[Heads, float]:
    """Return the heads found, best first added, and their mean error in seconds."""
    candidates = [[layer, head] for layer in range(layers) for head in range(heads)]
    chosen: Heads = []
    best = float("inf")
    while candidates:
        error, head = min((aligner.error([*chosen, head]), head) for head in candidates)
        if error >= WORTH * best:
            break
        best = error
        chosen.append(head)
        candidates.remove(head)
        print(f"{1000 * error:.0f} ms with {chosen}", flush=True)
    return chosen, best


def stored_heads(folder: Path) -> Heads:
    """Read the alignment heads from a model folder's config."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    heads: Heads = config.get("alignment_heads") or []
    return heads


def store_heads(folder: Path, heads: Heads) -> None:
    """Write the alignment heads into a model folder's config."""
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8")) | {"alignment_heads": sorted(heads)}
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def main() -> None:
    """Choose and store the heads of the model named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--unseen", type=Path, required=True, help="a folder of sets")
    parser.add_argument("--sentences", type=int, default=48)
    parser.add_argument("--skip", type=int, default=400, help="sentences that are for the figures")
    arguments = parser.parse_args()
    paths = sorted(arguments.unseen.glob("*.npy"))
    loaded = ((c, x.astype(np.float32) / 32768) for path in paths for c, x in load_set(path))
    first, last = arguments.skip, arguments.skip + arguments.sentences
    clips = list(islice(loaded, first, last))
    if not clips:
        parser.error(f"there are no sentences behind the first {first}")
    aligner = Aligner(arguments.model, clips)
    sizes = dimensions(to_reference(read_model(arguments.model / "model.bin")))
    stored = stored_heads(arguments.model)  # measuring writes others
    heads, error = choose_heads(aligner, sizes["n_text_layer"], sizes["n_text_head"])
    # One head after the other is no search of all sets: those that were there may be better.
    if stored and aligner.error(stored) <= error:
        heads = stored
        print(f"{heads} stay")
    store_heads(arguments.model, heads)


if __name__ == "__main__":
    main()
