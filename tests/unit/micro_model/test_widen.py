"""A widened model's arrays have a real Whisper's sizes; what cannot be widened is refused.

That they give the same text is shown in test_widened_text.py.
"""

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from tools.micro_model.model_file import ModelFile, read_model, write_model
from tools.micro_model.widen import SHAPES, Shape, widen


def without_quantization(model: ModelFile) -> ModelFile:
    """Return the same model with float32 weights."""
    names = [name for name in model.variables if not name.endswith("_scale")]
    weights = {n: model.weight(n) if f"{n}_scale" in model.variables else model.variables[n]
               for n in names}  # fmt: skip
    return dataclasses.replace(model, variables=weights)


def weights_of(model: ModelFile) -> int:
    """Return how many weights a model has, without the scales of quantization."""
    kept = (array for n, array in model.variables.items() if not n.endswith("_scale"))
    return sum(array.size for array in kept)


def test_a_model_file_is_written_as_it_was_read(micro: Path, tmp_path: Path) -> None:
    write_model(read_model(micro / "model.bin"), tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == (micro / "model.bin").read_bytes()


def test_another_binary_version_is_refused_by_number(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"\x07\x00\x00\x00")
    with pytest.raises(ValueError, match="binary version 7, this reads 6"):
        read_model(tmp_path / "model.bin")


def test_float_weights_are_widened_like_quantized_ones(micro: Path) -> None:
    model = read_model(micro / "model.bin")
    floats = widen(without_quantization(model), SHAPES["tiny"])
    quantized = widen(model, SHAPES["tiny"])
    for name in ("encoder/conv2/weight", "decoder/layer_1/attention/linear_1/weight"):
        np.testing.assert_allclose(floats.weight(name), quantized.weight(name), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "features", "heads", "encoder", "decoder", "millions"),
    [
        ("tiny", 384, 6, 4, 4, 39),
        ("base", 512, 8, 6, 6, 74),
        ("small", 768, 12, 12, 12, 244),
        ("medium", 1024, 16, 24, 24, 769),
        ("large-v3-turbo", 1280, 20, 32, 4, 809),
    ],
)
def test_a_shape_has_the_sizes_of_its_whisper(
    micro: Path, shape: str, features: int, heads: int, encoder: int, decoder: int, millions: int
) -> None:
    model = widen(read_model(micro / "model.bin"), SHAPES[shape])
    wide = model.variables
    assert wide["encoder/conv1/weight"].shape == (features, 80, 3)
    assert wide["decoder/embeddings/weight"].shape == (51865, features)
    assert wide["decoder/num_heads"] == wide["encoder/num_heads"] == heads
    for side, layers in (("encoder", encoder), ("decoder", decoder)):
        for layer in range(layers):
            scope = f"{side}/layer_{layer}"
            linears = {"self_attention/linear_0": (3, 1), "self_attention/linear_1": (1, 1),
                       "ffn/linear_0": (4, 1), "ffn/linear_1": (1, 4)}  # fmt: skip
            if side == "decoder":
                linears |= {"attention/linear_0": (1, 1), "attention/linear_1": (2, 1),
                            "attention/linear_2": (1, 1)}  # fmt: skip
            for linear, (rows, columns) in linears.items():
                weight, scale = (wide[f"{scope}/{linear}/{n}"] for n in ("weight", "weight_scale"))
                assert weight.dtype == np.int8
                assert weight.shape == (rows * features, columns * features)
                assert scale.shape == wide[f"{scope}/{linear}/bias"].shape == (rows * features,)
        assert f"{side}/layer_{layers}/ffn/linear_0/weight" not in wide
    # As OpenAI gives the sizes, rounded; the position encodings of the encoder are weights here.
    assert weights_of(model) / 1e6 == pytest.approx(millions, rel=0.04)


def test_a_factor_of_one_changes_nothing(micro: Path) -> None:
    model = read_model(micro / "model.bin")
    same = widen(model, Shape(128, 4, 4)).variables
    assert same.keys() == model.variables.keys()
    for name, array in model.variables.items():
        assert same[name].dtype == array.dtype
        np.testing.assert_array_equal(same[name], array, err_msg=name)


def test_a_width_that_is_no_multiple_is_refused(micro: Path) -> None:
    with pytest.raises(ValueError, match="width 200 is not a multiple"):
        widen(read_model(micro / "model.bin"), Shape(200, 4, 4))


def test_layers_are_never_dropped(micro: Path) -> None:
    with pytest.raises(ValueError, match="4 encoder layers; 3 would drop some"):
        widen(read_model(micro / "model.bin"), Shape(256, 3, 4))
