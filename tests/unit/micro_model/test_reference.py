"""The shipped weights under openai-whisper's names, and the way back to CTranslate2."""

from pathlib import Path

import numpy as np
import pytest

from tools.micro_model.model_file import read_model
from tools.micro_model.reference import Weights, dimensions, to_ctranslate2, to_reference

ALIGNMENT_HEADS = [[1, 0], [2, 1]]


@pytest.fixture(scope="module")
def weights(micro: Path) -> Weights:
    return to_reference(read_model(micro / "model.bin"))


def test_the_sizes_are_those_of_a_small_whisper(weights: Weights) -> None:
    assert dimensions(weights) == {
        "n_mels": 80,
        "n_audio_ctx": 1500,
        "n_audio_state": 128,
        "n_audio_head": 2,
        "n_audio_layer": 4,
        "n_vocab": 51865,
        "n_text_ctx": 448,
        "n_text_state": 128,
        "n_text_head": 2,
        "n_text_layer": 4,
    }


def test_names_and_shapes_are_those_that_openai_whisper_loads(weights: Weights) -> None:
    attention = ("query.weight", "query.bias", "key.weight", "value.weight", "value.bias",
                 "out.weight", "out.bias")  # fmt: skip
    norm, linear = ("weight", "bias"), ("weight", "bias")
    expected = {f"encoder.{conv}.{kind}" for conv in ("conv1", "conv2") for kind in linear}
    expected |= {f"{end}.{kind}" for end in ("encoder.ln_post", "decoder.ln") for kind in norm}
    expected |= {"encoder.positional_embedding", "decoder.positional_embedding"}
    expected |= {"decoder.token_embedding.weight"}
    for block in range(4):
        for side, parts in (("encoder", ("attn",)), ("decoder", ("attn", "cross_attn"))):
            scope = f"{side}.blocks.{block}"
            expected |= {f"{scope}.{part}.{kind}" for part in parts for kind in attention}
            expected |= {f"{scope}.{part}_ln.{kind}" for part in (*parts, "mlp") for kind in norm}
            expected |= {f"{scope}.mlp.{layer}.{kind}" for layer in (0, 2) for kind in linear}
    assert set(weights) == expected
    assert weights["decoder.blocks.3.cross_attn.key.weight"].shape == (128, 128)
    assert weights["decoder.blocks.3.mlp.0.weight"].shape == (512, 128)
    assert weights["encoder.conv1.weight"].shape == (128, 80, 3)


def test_the_encoders_positions_are_whispers_sinusoids(weights: Weights) -> None:
    positions = weights["encoder.positional_embedding"][1, [0, 63, 64, 127]]
    assert positions == pytest.approx([0.8415, 0.0001, 0.5403, 1], abs=3e-4)


def test_weights_come_back_from_the_reference_names_as_they_were(
    micro: Path, weights: Weights, tmp_path: Path
) -> None:
    to_ctranslate2(weights, tmp_path, like=micro, alignment_heads=ALIGNMENT_HEADS)
    before, after = (read_model(folder / "model.bin") for folder in (micro, tmp_path))
    assert after.variables.keys() == before.variables.keys()
    assert after.aliases == before.aliases
    for name, array in before.variables.items():
        if array.dtype == np.int8 or array.ndim == 0:
            np.testing.assert_array_equal(after.variables[name], array, err_msg=name)
        else:
            np.testing.assert_allclose(after.variables[name], array, rtol=1e-6, err_msg=name)


def test_a_folder_is_complete_and_carries_its_alignment_heads(
    micro: Path, weights: Weights, tmp_path: Path
) -> None:
    to_ctranslate2(weights, tmp_path, like=micro, alignment_heads=ALIGNMENT_HEADS)
    assert {file.name for file in tmp_path.iterdir()} == {
        "model.bin",
        "config.json",
        "vocabulary.json",
        "tokenizer.json",
        "preprocessor_config.json",
    }
    assert '"alignment_heads": [' in (tmp_path / "config.json").read_text()
    for name in ("vocabulary.json", "tokenizer.json", "preprocessor_config.json"):
        assert (tmp_path / name).read_bytes() == (micro / name).read_bytes()
