"""A widened model gives the same features, text, tokens and scores as the model that it was made from.

In float32 that is exact up to rounding, for every factor and shape. On int8 activations are rounded too,
and their last place decides where two words are about equally likely: at most one file may differ.

`tiny` and `base` are tried always; all five shapes with WIDEN_ALL=1, as `make -C tools/micro_model test`
sets it: some minutes, 4 GB of memory and 0.8 GB of disk, one shape at a time.
"""

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ctranslate2
import numpy as np
import pytest
from faster_whisper import WhisperModel, decode_audio
from faster_whisper.feature_extractor import FeatureExtractor
from house import DATA

from tools.micro_model.widen import SHAPES, Shape, widen_folder

ALL = os.environ.get("WIDEN_ALL") == "1"
ALWAYS = ("tiny", "base")
FEW = [f"short/{language}-1.wav" for language in ("en", "de", "fr", "es")]
MANY = [f"short/{language}-{n}.wav" for language in ("en", "de", "fr", "es") for n in (1, 2, 3)]
MANY += [
    "formats/three-ulaw8k.wav",
    "hard/noise-10db.wav",
    "hard/telephone.wav",
    "hard/clipped.wav",
]

Segment = tuple[str, list[int], float, list[tuple[str, float, float]]]

of_each_shape = pytest.mark.parametrize(
    "shape",
    [
        pytest.param(
            shape,
            marks=() if shape in ALWAYS else pytest.mark.skipif(not ALL, reason="WIDEN_ALL=1"),
        )
        for shape in SHAPES
    ],
)


@contextmanager
def widened(micro: Path, shape: Shape) -> Iterator[Path]:
    """Keep a widened folder for as long as it is needed: the large ones have 0.8 GB."""
    with tempfile.TemporaryDirectory() as folder:
        widen_folder(micro, Path(folder), shape)
        yield Path(folder)


def transcribe(folder: Path, compute_type: str, files: list[str]) -> list[list[Segment]]:
    """Return text, tokens, average log probability and words of each file's segments."""
    model = WhisperModel(str(folder), device="cpu", compute_type=compute_type, cpu_threads=1)
    heard = []
    for file in files:
        segments, _ = model.transcribe(
            decode_audio(str(DATA / file)), beam_size=5, word_timestamps=compute_type == "float32"
        )
        heard.append([
            (s.text, s.tokens, s.avg_logprob, [(w.word, w.start, w.end) for w in s.words or []])
            for s in segments
        ])  # fmt: skip
    return heard


def features_and_score(folder: Path, mel: np.ndarray) -> tuple[np.ndarray, list[int], float]:
    """Return what the encoder makes of a short window, and what the decoder says of it."""
    model = ctranslate2.models.Whisper(str(folder), compute_type="float32", intra_threads=1)
    encoded = model.encode(ctranslate2.StorageView.from_array(mel))
    prompt = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>", "<|notimestamps|>"]
    (result,) = model.generate(encoded, [prompt], beam_size=1, return_scores=True, max_length=24)
    return np.array(encoded), result.sequences_ids[0], result.scores[0]


@pytest.mark.parametrize("k", [2, 5, 7])
def test_any_factor_repeats_the_features_and_keeps_tokens_and_score(micro: Path, k: int) -> None:
    audio = decode_audio(str(DATA / "short" / "en-1.wav"))
    mel = np.ascontiguousarray(FeatureExtractor()(audio)[None, :, :400])
    narrow, tokens, score = features_and_score(micro, mel)
    with widened(micro, Shape(128 * k, 4, 4)) as folder:
        wide, same_tokens, same_score = features_and_score(folder, mel)
    np.testing.assert_allclose(wide, np.tile(narrow, k), atol=1e-4)
    assert same_tokens == tokens
    assert len(tokens) > 4
    assert same_score == pytest.approx(score, abs=1e-5)


@of_each_shape
def test_in_float32_a_shape_gives_the_same_text_tokens_scores_and_words(
    micro: Path, shape: str
) -> None:
    files = ["short/en-2.wav"]
    (narrow,) = transcribe(micro, "float32", files)
    with widened(micro, SHAPES[shape]) as folder:
        (wide,) = transcribe(folder, "float32", files)
    assert narrow, "the file has speech"
    for (text, tokens, score, words), (*same, same_score, same_words) in zip(
        narrow, wide, strict=True
    ):
        assert same == [text, tokens]
        assert same_score == pytest.approx(score, abs=1e-5)
        assert [word for word, *_ in same_words] == [word for word, *_ in words]
        for (_, *times), (_, *same_times) in zip(words, same_words, strict=True):
            assert same_times == pytest.approx(times, abs=0.021), "one position of the encoder"


def test_more_layers_change_nothing(micro: Path) -> None:
    (narrow,) = transcribe(micro, "float32", ["short/en-1.wav"])
    with widened(micro, Shape(width=256, encoder_layers=6, decoder_layers=5)) as folder:
        (deep,) = transcribe(folder, "float32", ["short/en-1.wav"])
    assert narrow
    for (text, tokens, score, _), same in zip(narrow, deep, strict=True):
        assert same[:2] == (text, tokens)
        assert same[2] == pytest.approx(score, abs=1e-5)


@of_each_shape
def test_on_int8_the_text_of_all_files_but_one_at_most_is_the_same(micro: Path, shape: str) -> None:
    files = MANY if ALL and shape in ("tiny", "base", "small") else FEW
    narrow = transcribe(micro, "int8", files)
    with widened(micro, SHAPES[shape]) as folder:
        wide = transcribe(folder, "int8", files)
    assert all(narrow), "every file has speech"
    differing = {
        file: after
        for file, before, after in zip(files, narrow, wide, strict=True)
        if [text for text, *_ in after] != [text for text, *_ in before]
    }
    assert len(differing) <= 1, differing
