"""Turns checkpoints into the formats that Whisper's programs load, and back.

    python -m tools.micro_model.export ctranslate2 CHECKPOINT.pt FOLDER
    python -m tools.micro_model.export openai FOLDER CHECKPOINT.pt

The first makes a folder for CTranslate2 and faster-whisper (int8). The second makes a checkpoint of
openai-whisper from such a folder, the widened ones too, so that other systems run the same weights.
"""

import argparse
from pathlib import Path

import torch

from .model_file import read_model
from .network import GUIDED
from .reference import dimensions, to_ctranslate2, to_reference
from .tokens import SHIPPED

TAUGHT_HEADS = [[layer, head] for layer, heads in GUIDED.items() for head in heads]


def to_folder(
    checkpoint: Path, folder: Path, alignment_heads: list[list[int]] | None = None
) -> None:
    """Write an int8 model folder from a checkpoint of openai-whisper's form."""
    state = torch.load(checkpoint, map_location="cpu", weights_only=True)["model_state_dict"]
    weights = {name: weight.float().numpy() for name, weight in state.items()}
    heads = alignment_heads or TAUGHT_HEADS
    to_ctranslate2(weights, folder, like=SHIPPED, alignment_heads=heads)


def to_openai(folder: Path, checkpoint: Path) -> None:
    """Write a checkpoint that `whisper.load_model` loads, from a CTranslate2 folder.

    In float16, as OpenAI's are: whisper.cpp's converter takes that for granted.
    """
    weights = to_reference(read_model(folder / "model.bin"))
    state = {name: torch.from_numpy(array.copy()).half() for name, array in weights.items()}
    torch.save({"dims": dimensions(weights), "model_state_dict": state}, checkpoint)


def main() -> None:
    """Export as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("format", choices=("ctranslate2", "openai"))
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    convert = to_folder if arguments.format == "ctranslate2" else to_openai
    convert(arguments.source, arguments.target)


if __name__ == "__main__":
    main()
