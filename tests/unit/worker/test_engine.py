"""What a device is asked for, what of its errors is told apart, and which type a model is served in."""

import json
import math
import weakref
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import ctranslate2
import numpy as np
import pytest
from house import MICRO
from worker import engine as module
from worker.engine import Engine, EngineError, OutOfMemory, _view
from worker.machine import usable_devices
from worker.model_config import with_own_config
from worker.settings import Settings
from worker.shape import Shape, read_shape


def test_the_error_that_a_lack_of_memory_leaves_behind_meets_no_other_window() -> None:
    """CUDA keeps it, and CTranslate2's next call in the thread fails for it."""
    left: list[str] = []

    def call(*given: object) -> object:
        if left:
            raise RuntimeError(left.pop())
        return SimpleNamespace(shape=(1, 50, 128))

    def generate(*given: object) -> object:
        left.append("parallel_for failed: cudaErrorInvalidDevice: invalid device ordinal")
        raise RuntimeError("CUDA failed with error out of memory")

    engine = object.__new__(Engine)
    engine.device, engine.mels = "cuda", 80
    engine._whisper = SimpleNamespace(generate=generate, encode=call)  # type: ignore[assignment]
    with pytest.raises(OutOfMemory):
        engine.generate(None, [])
    engine.encode([np.zeros((80, 3000), np.float32)], [None])


@pytest.mark.parametrize(
    ("message", "proves"),
    [
        ("CUDA failed with error out of memory", True),
        ("CUDA failed with error unspecified launch failure", False),
    ],
)
def test_a_full_memory_is_no_lost_device(message: str, proves: bool) -> None:
    def fail(*given: object) -> object:
        raise RuntimeError(message)

    engine = object.__new__(Engine)
    engine.device, engine.mels, engine.multilingual = "cuda", 80, True
    engine._whisper = SimpleNamespace(encode=fail)  # type: ignore[assignment]
    with nullcontext() if proves else pytest.raises(RuntimeError, match=message):
        engine.prove()


@pytest.mark.parametrize(
    ("message", "kind"),
    [
        ("CUDA failed with error out of memory", OutOfMemory),
        ("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED", OutOfMemory),
        ("cuBLAS failed with status CUBLAS_STATUS_EXECUTION_FAILED", RuntimeError),
    ],
)
def test_memory_that_does_not_suffice_is_told_from_other_failures(
    message: str, kind: type[Exception]
) -> None:
    def fail(*given: object) -> object:
        raise RuntimeError(message)

    engine = object.__new__(Engine)
    engine.device, engine.mels = "cuda", 80
    engine._whisper = SimpleNamespace(generate=fail, encode=fail)  # type: ignore[assignment]
    with pytest.raises(Exception, match=message) as caught:
        engine.generate(None, [])
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("members", "texts", "frames", "expected"),
    [
        ([1], [[11]], [900], [2, 900, 2]),
        ([0, 1, 2], [[11], [11, 12], [13]], [900, 900, 900], [900, 898, 900]),
        ([0, 1, 2], [[11], [11, 12], [13]], [900, 900, 800], [900, 900, 800]),
        ([0, 1, 2], [[11], [12], [13]], [900, 900, 900], [900, 900, 900]),
        ([0, 1, 2], [[11], [11, 12], [13]], [2, 2, 2], [2, 4, 2]),
        ([0, 1], [[11, 12], [13]], [2, 2], [4, 2, 2]),
    ],
)
def test_windows_of_a_batch_are_aligned_without_what_fills_up_shorter_texts(
    members: list[int], texts: list[list[int]], frames: list[int], expected: list[int]
) -> None:
    """CTranslate2 leaves that out only where windows differ in length."""
    asked: list[list[int]] = []

    def align(encoded: Any, start: Any, texts: list[list[int]], frames: list[int]) -> list[str]:
        asked.append(frames)
        return [f"{text} of {frame}" for text, frame in zip(texts, frames, strict=True)]

    engine = object.__new__(Engine)
    engine.device = "cuda"
    engine._whisper = SimpleNamespace(align=align)
    encoded = np.zeros((3, 500, 8), np.float32)
    found = engine.align(encoded, members, [50_258], texts, frames)
    assert found == [f"{text} of {expected[n]}" for n, text in zip(members, texts, strict=True)]
    assert asked == [expected]


class WithoutCublas:
    """Stands for CTranslate2 where there is a driver, and a library too few; CPUs get the real one."""

    real = ctranslate2.models.Whisper
    error = "Library libcublas.so.12 is not found or cannot be loaded"

    def __new__(cls, path: str, *, device: str, **options: Any) -> Any:
        if device == "cuda":
            raise RuntimeError(cls.error)
        return cls.real(path, device=device, **options)


@pytest.mark.parametrize(
    ("device", "error", "served_on"),
    [
        ("auto", WithoutCublas.error, "cpu"),
        ("cuda", WithoutCublas.error, None),
        ("auto", "CUDA failed with error out of memory", None),
    ],
)
def test_auto_takes_the_cpu_where_cuda_does_not_work_and_not_where_it_is_full(
    monkeypatch: pytest.MonkeyPatch, device: str, error: str, served_on: str | None
) -> None:
    types = ctranslate2.get_supported_compute_types
    monkeypatch.setattr(WithoutCublas, "error", error)
    monkeypatch.setattr(ctranslate2.models, "Whisper", WithoutCublas)
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(
        ctranslate2,
        "get_supported_compute_types",
        lambda name: {"float16", "float32"} if name == "cuda" else types(name),
    )
    settings = Settings(whisper_device=device)
    if served_on is None:
        with pytest.raises(EngineError, match=error):
            Engine("micro", MICRO, settings)
    else:
        engine = Engine("micro", MICRO, settings)
        assert (engine.device, engine._whisper.compute_type) == (served_on, "int8_float32")
        engine.close()


@pytest.mark.parametrize(
    "named",
    [[[10, 12], [31, 6]], [[3, 0], [4, 0]], [[3, 2]], [], None],
    ids=["a teacher's", "one layer too many", "a head too many", "none", "null"],
)
def test_a_model_gets_heads_of_its_own_where_its_config_names_others(
    tmp_path: Path, named: list[list[int]] | None
) -> None:
    for file in MICRO.iterdir():
        (tmp_path / file.name).symlink_to(file)
    config = json.loads((MICRO / "config.json").read_text())
    shape = read_shape(MICRO / "model.bin")
    assert with_own_config("micro", tmp_path, shape) is None
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").write_text(json.dumps(config | {"alignment_heads": named}))
    stand_in = with_own_config("micro", tmp_path, shape)
    assert stand_in is not None
    found = json.loads((Path(stand_in.name) / "config.json").read_text())
    assert found == config | {"alignment_heads": [[2, 0], [2, 1], [3, 0], [3, 1]]}
    stand_in.cleanup()
    lists = ("lang_ids", "suppress_ids", "suppress_ids_begin")
    bare = {key: value for key, value in config.items() if key not in lists}
    (tmp_path / "config.json").write_text(json.dumps(bare))
    stand_in = with_own_config("micro", tmp_path, shape)
    assert stand_in is not None
    found = json.loads((Path(stand_in.name) / "config.json").read_text())
    assert sorted(found["lang_ids"]) == sorted(config["lang_ids"])
    assert (found["suppress_ids"], found["suppress_ids_begin"]) == ([], [])
    stand_in.cleanup()
    engine = Engine("micro", tmp_path, Settings(whisper_device="cpu"))
    assert engine.directory != tmp_path
    engine.close()
    assert not engine.directory.exists()


def test_the_shape_of_a_model_is_read_and_that_of_another_file_is_not_known(
    tmp_path: Path,
) -> None:
    assert read_shape(MICRO / "model.bin") == Shape(4, 4, heads=2, tokens=51865)
    assert read_shape(MICRO / "nothing.bin") is None
    assert read_shape(MICRO / "tokenizer.json") is None
    (tmp_path / "model.bin").write_bytes((MICRO / "model.bin").read_bytes()[:5000])
    assert read_shape(tmp_path / "model.bin") is None


class Overflowing:
    """Stands for CTranslate2's model on a device that computes no numbers but in some types."""

    is_multilingual, n_mels, model_is_loaded = False, 80, True
    works_in: tuple[str, ...] = ()
    fits_in: tuple[str, ...] = ("float16", "int8_float16", "int8", "float32")
    loaded: weakref.WeakSet[Any]

    def __init__(self, path: str, *, device: str, compute_type: str, **_: Any) -> None:
        assert not self.loaded, "the model before it is still in memory"
        if compute_type not in self.fits_in:
            raise RuntimeError("CUDA failed with error out of memory")
        self.loaded.add(self)
        self.device, self.compute_type = device, compute_type

    def encode(self, features: Any) -> Any:
        return _view(np.zeros((1, 1500, 8)))

    def generate(self, encoded: Any, prompts: list[Any], **_: Any) -> list[Any]:
        score = -0.5 if self.compute_type in self.works_in else math.nan
        return [SimpleNamespace(sequences_ids=[[11]], scores=[score]) for _ in prompts]

    def align(self, *_: Any) -> list[Any]:
        return [None]


def stand_in(monkeypatch: pytest.MonkeyPatch, **types: tuple[str, ...]) -> None:
    """Let models be Overflowing, of which none is loaded yet."""
    for name, value in types.items():
        monkeypatch.setattr(Overflowing, name, value)
    monkeypatch.setattr(Overflowing, "loaded", weakref.WeakSet(), raising=False)
    monkeypatch.setattr(ctranslate2.models, "Whisper", Overflowing)


@pytest.mark.parametrize(
    ("chosen", "works_in", "expected"),
    [
        (None, ("int8", "float32"), "int8"),
        (None, ("float32",), "float32"),
        (None, (), None),
        ("int8", ("float32",), None),
    ],
)
def test_a_type_in_which_a_device_computes_no_numbers_is_not_served(
    monkeypatch: pytest.MonkeyPatch,
    chosen: str | None,
    works_in: tuple[str, ...],
    expected: str | None,
) -> None:
    stand_in(monkeypatch, works_in=works_in)
    settings = Settings(whisper_device="cpu", whisper_compute_type=chosen)
    if expected is None:
        with pytest.raises(EngineError, match="its numbers overflow"):
            Engine("base", Path("base"), settings)
    else:
        served: Any = Engine("base", Path("base"), settings)._whisper
        assert served.compute_type == expected


@pytest.mark.parametrize(
    ("fits_in", "works_in", "chosen", "expected"),
    [
        (("float16",), ("float16",), None, "float16"),
        (("int8_float16",), ("int8_float16",), None, "int8_float16"),
        (("int8_float16",), ("int8_float16",), "float16", None),
        (("int8_float32",), ("int8_float32",), None, None),
        (("float16", "int8_float32"), ("int8_float32",), None, "int8_float32"),
        (("int8_float16", "int8_float32"), ("int8_float32",), None, "int8_float32"),
        ((), (), None, None),
    ],
)
def test_a_gpu_with_little_memory_gets_int8_and_one_that_overflows_float32(
    monkeypatch: pytest.MonkeyPatch,
    fits_in: tuple[str, ...],
    works_in: tuple[str, ...],
    chosen: str | None,
    expected: str | None,
) -> None:
    """Full float32 after float16 that overflows is as good a reason for int8."""
    types = {"float16", "float32", "int8", "int8_float16", "int8_float32"}
    stand_in(monkeypatch, works_in=works_in, fits_in=fits_in)
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda device: types)
    settings = Settings(whisper_device="cuda", whisper_compute_type=chosen)
    if expected is None:
        with pytest.raises(EngineError, match="out of memory"):
            Engine("base", Path("base"), settings)
    else:
        served: Any = Engine("base", Path("base"), settings)._whisper
        assert (served.device, served.compute_type) == ("cuda", expected)


def test_a_gpu_without_float16_gets_int8(monkeypatch: pytest.MonkeyPatch) -> None:
    types = {"float32", "int8", "int8_float32"}
    monkeypatch.setattr(ctranslate2, "get_cuda_device_count", lambda: 1)
    monkeypatch.setattr(ctranslate2, "get_supported_compute_types", lambda device: types)
    found = usable_devices(Settings(whisper_device="cuda"))
    assert found == [("cuda", "int8_float32"), ("cuda", "float32")]


@pytest.mark.parametrize(
    ("layers", "heads", "gigabytes", "models", "expected"),
    [
        (12, 12, 12, 1, 4),
        (12, 12, 12, 6, 2),
        (32, 20, 12, 1, 1),
        (32, 20, 64, 1, 4),
        (32, 20, 2, 1, 1),
        (4, 2, 0.2, 1, 2),
        (4, 2, math.inf, 1, 4),
    ],
    ids=[
        "small",
        "small among six",
        "large-v3",
        "large-v3 with room",
        "large-v3 without",
        "micro with little",
        "nothing tells of it",
    ],
)
def test_the_windows_of_a_batch_on_a_cpu_fit_into_its_memory(
    monkeypatch: pytest.MonkeyPatch,
    layers: int,
    heads: int,
    gigabytes: float,
    models: int,
    expected: int,
) -> None:
    monkeypatch.setattr(module, "usable_memory", lambda: gigabytes * 1e9)
    engine = object.__new__(Engine)
    engine.device, engine.workers = "cpu", 2
    engine.shape = Shape(layers, layers, heads, tokens=51865)
    assert engine._usual_batch_size(threads=4, models=models) == expected


def test_a_warm_up_on_a_cpu_goes_through_full_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[int, int]] = []
    generate = Engine.generate

    def noted(self: Engine, encoded: Any, prompts: list[list[int]], **options: Any) -> list[Any]:
        asked.append((encoded.shape[0], len(prompts)))
        return generate(self, encoded, prompts, **options)

    monkeypatch.setattr(Engine, "generate", noted)
    settings = Settings(whisper_device="cpu", whisper_workers=2, whisper_max_batch_size=3)
    Engine("micro", MICRO, settings).close()
    assert asked == [(3, 3), (3, 3), (1, 1)]
