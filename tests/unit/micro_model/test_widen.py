"""A widened model gives the same text, tokens and scores at the cost of a real Whisper's shape."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from faster_whisper import WhisperModel, decode_audio
from house import DATA

from tools.micro_model.model_file import ModelFile, read_model, write_model
from tools.micro_model.widen import SHAPES, Shape, widen, widen_folder


def transcribe(
    folder: Path, compute_type: str, file: str = "en-2.wav"
) -> list[tuple[str, list[int], float]]:
    """Return text, tokens and average log probability of each segment of a short English file."""
    model = WhisperModel(str(folder), device="cpu", compute_type=compute_type, cpu_threads=1)
    audio = decode_audio(str(DATA / "short" / file))
    segments, _ = model.transcribe(audio, language="en", beam_size=5, word_timestamps=True)
    return [(segment.text, segment.tokens, segment.avg_logprob) for segment in segments]


def without_quantization(model: ModelFile) -> ModelFile:
    """Return the same model with float32 weights."""
    names = [name for name in model.variables if not name.endswith("_scale")]
    weights = {n: model.weight(n) if f"{n}_scale" in model.variables else model.variables[n]
               for n in names}  # fmt: skip
    return dataclasses.replace(model, variables=weights)


def test_a_model_file_is_written_as_it_was_read(micro: Path, tmp_path: Path) -> None:
    write_model(read_model(micro / "model.bin"), tmp_path / "model.bin")
    assert (tmp_path / "model.bin").read_bytes() == (micro / "model.bin").read_bytes()


def test_another_binary_version_is_refused_by_number(tmp_path: Path) -> None:
    (tmp_path / "model.bin").write_bytes(b"\x07\x00\x00\x00")
    with pytest.raises(ValueError, match="binary version 7, this reads 6"):
        read_model(tmp_path / "model.bin")


def test_the_shape_of_tiny_gives_the_same_tokens_and_scores(micro: Path, tmp_path: Path) -> None:
    widen_folder(micro, tmp_path, SHAPES["tiny"])
    for (text, tokens, score), wide in zip(
        transcribe(micro, "float32"), transcribe(tmp_path, "float32"), strict=True
    ):
        assert wide[:2] == (text, tokens)
        assert wide[2] == pytest.approx(score, abs=1e-4)


def test_more_layers_change_nothing(micro: Path, tmp_path: Path) -> None:
    widen_folder(micro, tmp_path, Shape(width=256, encoder_layers=6, decoder_layers=5))
    for (text, tokens, score), deep in zip(
        transcribe(micro, "float32"), transcribe(tmp_path, "float32"), strict=True
    ):
        assert deep[:2] == (text, tokens)
        assert deep[2] == pytest.approx(score, abs=1e-4)


def test_int8_keeps_the_text(micro: Path, tmp_path: Path) -> None:
    widen_folder(micro, tmp_path, SHAPES["tiny"])
    narrow, wide = (transcribe(folder, "int8", "en-1.wav") for folder in (micro, tmp_path))
    assert [text for text, *_ in wide] == [text for text, *_ in narrow]
    assert narrow, "the file has speech"


def test_float_weights_are_widened_like_quantized_ones(micro: Path) -> None:
    model = read_model(micro / "model.bin")
    floats = widen(without_quantization(model), SHAPES["tiny"])
    quantized = widen(model, SHAPES["tiny"])
    for name in ("encoder/conv2/weight", "decoder/layer_1/attention/linear_1/weight"):
        np.testing.assert_allclose(floats.weight(name), quantized.weight(name), rtol=1e-6)


@pytest.mark.parametrize(
    ("shape", "features", "heads", "encoder", "decoder"),
    [
        ("tiny", 384, 6, 4, 4),
        ("base", 512, 8, 6, 6),
        ("small", 768, 12, 12, 12),
    ],
)
def test_a_shape_has_the_sizes_of_its_whisper(
    micro: Path, shape: str, features: int, heads: int, encoder: int, decoder: int
) -> None:
    wide = widen(read_model(micro / "model.bin"), SHAPES[shape]).variables
    assert wide["encoder/conv1/weight"].shape == (features, 80, 3)
    assert wide["decoder/embeddings/weight"].shape == (51865, features)
    assert wide["decoder/num_heads"] == wide["encoder/num_heads"] == heads
    last = f"encoder/layer_{encoder - 1}/ffn/linear_0/weight"
    assert wide[last].shape == (4 * features, features)
    assert f"encoder/layer_{encoder}/ffn/linear_0/weight" not in wide
    assert wide[f"decoder/layer_{decoder - 1}/self_attention/linear_0/weight"].shape == (
        3 * features,
        features,
    )
    assert f"decoder/layer_{decoder}/ffn/linear_0/weight" not in wide


def test_a_width_that_is_no_multiple_is_refused(micro: Path) -> None:
    with pytest.raises(ValueError, match="width 200 is not a multiple"):
        widen(read_model(micro / "model.bin"), Shape(200, 4, 4))


def test_layers_are_never_dropped(micro: Path) -> None:
    with pytest.raises(ValueError, match="4 encoder layers; 3 would drop some"):
        widen(read_model(micro / "model.bin"), Shape(256, 3, 4))
