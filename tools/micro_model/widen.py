"""Widens a model to the shape of a real Whisper, its function preserved: the text of `micro` at `small`'s cost.

    python -m tools.micro_model.widen whisper-service/models/micro OUT --shape small

The algebra, for a factor k: every hidden feature is repeated k times. LayerNorm sees the same mean and
variance, so it gives the same features, repeated. A linear layer takes W/k on the repeated input and
repeats its output; heads are repeated whole, so each attends as before. The last LayerNorm of the decoder
is divided by k, and the tied output projection then sums k equal shares into the same logits. Layers
beyond those of the source add zero to the residual. On int8 weights this is exact too: the integers are
repeated and only their scales change. Needs numpy alone; the source decides the type of the weights.
"""

import argparse
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .model_file import ModelFile, Variables, layers_of, read_model, write_model

Array = NDArray[Any]


@dataclass(frozen=True)
class Shape:
    """What makes a Whisper cost what it costs: its width (features) and its layers; 64 features a head."""

    width: int
    encoder_layers: int
    decoder_layers: int


# `large-v3-turbo` keeps the 80 mels and 51,865 tokens of the others: other filters would change the
# features, and one more language would move the tokens, so neither can keep the text.
SHAPES = {
    "tiny": Shape(384, 4, 4),
    "base": Shape(512, 6, 6),
    "small": Shape(768, 12, 12),
    "medium": Shape(1024, 24, 24),
    "large-v3-turbo": Shape(1280, 32, 4),
}


def widen(model: ModelFile, shape: Shape) -> ModelFile:
    """Return the model in another shape; it gives the same text and, up to rounding, the same scores.

    Raises:
        ValueError: when the width is no multiple of the model's, or there are fewer layers than it has.
    """
    k, rest = divmod(shape.width, model.variables["decoder/layer_norm/gamma"].shape[0])
    if k < 1 or rest:
        raise ValueError(f"width {shape.width} is not a multiple of the model's")
    wide = {name: _widened(name, array, k) for name, array in model.variables.items()}
    for side, layers in (("encoder", shape.encoder_layers), ("decoder", shape.decoder_layers)):
        _deepen(wide, side, layers)
    return ModelFile(model.specification, model.revision, wide, dict(model.aliases))


def _widened(name: str, array: Array, k: int) -> Array:
    """Repeat one variable k times along each axis of hidden features."""
    scope, kind = name.rsplit("/", 1)
    blocks = _fused_blocks(scope)
    divided = not scope.endswith(("embeddings", "conv1", "position_encodings"))
    match kind:
        case "num_heads":
            return np.multiply(array, k, dtype=array.dtype)
        case "encodings":
            return np.tile(array, (1, k))
        case "gamma" | "beta":
            last = scope == "decoder/layer_norm"
            return np.tile(array, k) / np.float32(k if last else 1)
        case "bias":
            return _repeat_rows(array, k, blocks)
        case "weight_scale" if scope.endswith("embeddings"):
            return array  # one scale for each token, and tokens are not repeated
        case "weight_scale":
            return _repeat_rows(array, k, blocks) * np.float32(k if divided else 1)
        case "weight" if scope.endswith("embeddings"):
            return np.tile(array, (1, k))
        case "weight" if scope.endswith("conv1"):
            return _repeat_rows(array, k, blocks)  # its input is the sound, which is not repeated
        case "weight":
            rows = _repeat_rows(array, k, blocks)
            wide = np.tile(rows, (1, k, *[1] * (array.ndim - 2)))
            return wide if wide.dtype == np.int8 else (wide / np.float32(k)).astype(array.dtype)
    return array  # scalars that say which activation, which normalization, ...


def _fused_blocks(scope: str) -> int:
    """Return how many matrices CTranslate2 keeps stacked in one: queries, keys and values."""
    if scope.endswith("/self_attention/linear_0"):
        return 3
    return 2 if scope.endswith("/attention/linear_1") else 1


def _repeat_rows(array: Array, k: int, blocks: int) -> Array:
    parts = np.split(array, blocks)
    return np.concatenate([part for part in parts for _ in range(k)])


def _deepen(variables: Variables, side: str, layers: int) -> None:
    """Add layers that leave the residual as it is: copies whose last matrices give zero."""
    have = layers_of(variables, side)
    if layers < have:
        raise ValueError(f"the model has {have} {side} layers; {layers} would drop some")
    for index in range(have, layers):
        source = f"{side}/layer_{index % have}/"
        for name in [n for n in variables if n.startswith(source)]:
            array = variables[name]
            if _ends_a_branch(name):
                array = np.zeros_like(array)
            variables[name.replace(source, f"{side}/layer_{index}/")] = array


def _ends_a_branch(name: str) -> bool:
    """Say whether a variable belongs to the last linear layer before a residual sum."""
    ends = ("self_attention/linear_1", "/attention/linear_2", "ffn/linear_1")
    scope, kind = name.rsplit("/", 1)
    return scope.endswith(ends) and kind in ("weight", "bias")


def widen_folder(source: Path, target: Path, shape: Shape) -> None:
    """Write a widened model folder that faster-whisper loads; the other files are copied."""
    target.mkdir(parents=True, exist_ok=True)
    for file in source.iterdir():
        if file.suffix == ".json":
            shutil.copyfile(file, target / file.name)
    write_model(widen(read_model(source / "model.bin"), shape), target / "model.bin")


def main() -> None:
    """Widen the folder named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "source", type=Path, help="a CTranslate2 model folder of 64 features a head"
    )
    parser.add_argument("target", type=Path, help="the folder to write")
    parser.add_argument("--shape", choices=SHAPES, required=True)
    arguments = parser.parse_args()
    widen_folder(arguments.source, arguments.target, SHAPES[arguments.shape])


if __name__ == "__main__":
    main()
