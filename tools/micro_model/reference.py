"""The weights of a Whisper under the reference's names and under CTranslate2's, and the way between them.

CTranslate2 stacks queries, keys and values in one matrix and gives keys a bias of zero; the reference
(openai-whisper) keeps them apart and its keys have no bias. All else is renaming. Needs no PyTorch.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from ctranslate2.specs import WhisperSpec
from ctranslate2.specs.model_spec import index_spec
from numpy.typing import NDArray

from .model_file import ModelFile, layers_of

Weights = dict[str, NDArray[np.float32]]

HEAD = 64  # features of one head

# CTranslate2's linear layers of one block: the reference's that are stacked in each.
_SELF_LINEARS = {
    "self_attention/linear_0": ("attn.query", "attn.key", "attn.value"),
    "self_attention/linear_1": ("attn.out",),
    "ffn/linear_0": ("mlp.0",),
    "ffn/linear_1": ("mlp.2",),
}
_CROSS_LINEARS = {
    "attention/linear_0": ("cross_attn.query",),
    "attention/linear_1": ("cross_attn.key", "cross_attn.value"),
    "attention/linear_2": ("cross_attn.out",),
}
_NORMS = {"self_attention/layer_norm": "attn_ln", "ffn/layer_norm": "mlp_ln"}
_CROSS_NORMS = {"attention/layer_norm": "cross_attn_ln"}
_ENDS = {"encoder/layer_norm": "encoder.ln_post", "decoder/layer_norm": "decoder.ln"}


def dimensions(weights: Weights) -> dict[str, int]:
    """Return the `dims` of an openai-whisper checkpoint with these weights."""
    positions, width = weights["encoder.positional_embedding"].shape
    heads = width // HEAD
    return {
        "n_mels": weights["encoder.conv1.weight"].shape[1],
        "n_audio_ctx": positions,
        "n_audio_state": width,
        "n_audio_head": heads,
        "n_audio_layer": _layers(weights, "encoder"),
        "n_vocab": weights["decoder.token_embedding.weight"].shape[0],
        "n_text_ctx": weights["decoder.positional_embedding"].shape[0],
        "n_text_state": width,
        "n_text_head": heads,
        "n_text_layer": _layers(weights, "decoder"),
    }


def _layers(weights: Weights, side: str) -> int:
    blocks = (name.split(".")[2] for name in weights if name.startswith(f"{side}.blocks."))
    return 1 + max(int(block) for block in blocks)


def _linears(encoder: int, decoder: int) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield each of CTranslate2's linear layers with the reference's that it holds."""
    for side, layers in (("encoder", encoder), ("decoder", decoder)):
        linears = _SELF_LINEARS | (_CROSS_LINEARS if side == "decoder" else {})
        for index in range(layers):
            for scope, parts in linears.items():
                names = tuple(f"{side}.blocks.{index}.{part}" for part in parts)
                yield f"{side}/layer_{index}/{scope}", names


def _norms(encoder: int, decoder: int) -> Iterator[tuple[str, str]]:
    yield from _ENDS.items()
    for side, layers in (("encoder", encoder), ("decoder", decoder)):
        norms = _NORMS | (_CROSS_NORMS if side == "decoder" else {})
        for index in range(layers):
            for scope, name in norms.items():
                yield f"{side}/layer_{index}/{scope}", f"{side}.blocks.{index}.{name}"


def to_reference(model: ModelFile) -> Weights:
    """Return a CTranslate2 model's weights, dequantized, under the reference's names."""
    encoder, decoder = (layers_of(model.variables, side) for side in ("encoder", "decoder"))
    weights: Weights = {}
    for side in ("encoder", "decoder"):
        encodings = model.weight(f"{side}/position_encodings/encodings")
        weights[f"{side}.positional_embedding"] = encodings
    weights["decoder.token_embedding.weight"] = model.weight("decoder/embeddings/weight")
    for conv in ("conv1", "conv2"):
        for kind in ("weight", "bias"):
            weights[f"encoder.{conv}.{kind}"] = model.weight(f"encoder/{conv}/{kind}")
    for scope, parts in _linears(encoder, decoder):
        for kind in ("weight", "bias"):
            stacked = np.split(model.weight(f"{scope}/{kind}"), len(parts))
            weights |= {f"{part}.{kind}": array for part, array in zip(parts, stacked, strict=True)}
    for scope, name in _norms(encoder, decoder):
        weights[f"{name}.weight"] = model.weight(f"{scope}/gamma")
        weights[f"{name}.bias"] = model.weight(f"{scope}/beta")
    return {name: array for name, array in weights.items() if not name.endswith("key.bias")}


def to_ctranslate2(
    weights: Weights, folder: Path, like: Path, *, alignment_heads: list[list[int]],
    quantization: str | None = "int8",
) -> None:  # fmt: skip
    """Write a CTranslate2 model folder; vocabulary, tokenizer and features are those of `like`."""
    sizes = dimensions(weights)
    encoder, decoder, heads = sizes["n_audio_layer"], sizes["n_text_layer"], sizes["n_audio_head"]
    spec = WhisperSpec(encoder, heads, decoder, heads)
    for scope, values in _variables(weights, encoder, decoder):
        layer = index_spec(spec, scope)
        for kind, array in values.items():
            setattr(layer, kind, array.astype(np.float32))
    settings = json.loads((like / "config.json").read_text(encoding="utf-8"))
    for key, value in (settings | {"alignment_heads": alignment_heads}).items():
        setattr(spec.config, key, value)
    vocabulary = json.loads((like / "vocabulary.json").read_text(encoding="utf-8"))
    spec.register_vocabulary(vocabulary)
    spec.validate()
    spec.optimize(quantization=quantization)
    folder.mkdir(parents=True, exist_ok=True)
    spec.save(str(folder))
    for name in ("tokenizer.json", "preprocessor_config.json", "vocabulary.json"):
        if folder != like:
            shutil.copyfile(like / name, folder / name)


def _variables(
    weights: Weights, encoder: int, decoder: int
) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each of CTranslate2's scopes with its arrays."""
    for side in ("encoder", "decoder"):
        encodings = weights[f"{side}.positional_embedding"]
        yield f"{side}/position_encodings", {"encodings": encodings}
    for scope in ("embeddings", "projection"):
        yield f"decoder/{scope}", {"weight": weights["decoder.token_embedding.weight"]}
    for conv in ("conv1", "conv2"):
        kinds = ("weight", "bias")
        yield f"encoder/{conv}", {kind: weights[f"encoder.{conv}.{kind}"] for kind in kinds}
    for scope, parts in _linears(encoder, decoder):
        matrices = [weights[f"{part}.weight"] for part in parts]
        zeros = np.zeros(len(matrices[0]), np.float32)
        biases = [weights.get(f"{part}.bias", zeros) for part in parts]
        yield scope, {"weight": np.concatenate(matrices), "bias": np.concatenate(biases)}
    for scope, name in _norms(encoder, decoder):
        yield scope, {"gamma": weights[f"{name}.weight"], "beta": weights[f"{name}.bias"]}
