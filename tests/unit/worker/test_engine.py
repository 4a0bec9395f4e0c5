"""How many processors a worker counts on, how it shares them out, and what a device is asked for."""

import math
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from worker import engine as module
from worker.engine import Engine, EngineError, OutOfMemory, share_threads, usable_cpus
from worker.settings import Settings

V1 = "9:name=systemd:/\n3:cpuset:/\n2:cpu,cpuacct:{}\n"
V2 = "0::{}\n"


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        (V2.format("/"), {"cpu.max": "300000 100000"}, 3),
        (V2.format("/"), {"cpu.max": "150000 100000"}, 1),
        (V2.format("/"), {"cpu.max": "50000 100000"}, 1),
        (V2.format("/"), {"cpu.max": "max 100000"}, 16),
        (V2.format("/"), {"cpu.max": "6400000 100000"}, 16),
        (
            V2.format("/pod/service"),
            {"pod/cpu.max": "400000 100000", "pod/service/cpu.max": "max 100000"},
            4,
        ),
        (
            V2.format("/pod/service"),
            {"pod/cpu.max": "400000 100000", "pod/service/cpu.max": "200000 100000"},
            2,
        ),
        (V2.format("/pod"), {"cpu.max": "max 100000", "other/cpu.max": "100000 100000"}, 16),
        (V2.format("/as/the/host/says"), {"cpu.max": "500000 100000"}, 5),
        (V2.format("/../.."), {"cpu.max": "500000 100000"}, 5),
        (
            V1.format("/"),
            {"cpu/cpu.cfs_quota_us": "700000", "cpu/cpu.cfs_period_us": "100000"},
            7,
        ),
        (
            V1.format("/docker/1"),
            {
                "cpu/cpu.cfs_quota_us": "-1",
                "cpu/cpu.cfs_period_us": "100000",
                "cpu/docker/1/cpu.cfs_quota_us": "100000",
                "cpu/docker/1/cpu.cfs_period_us": "50000",
            },
            2,
        ),
        (V1.format("/") + V2.format("/"), {"cpu/cpu.cfs_quota_us": "-1"}, 16),
        ("", {}, 16),
    ],
)
def test_processors_are_those_of_the_affinity_and_of_the_smallest_quota_above(
    groups: str,
    files: dict[str, str],
    expected: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {*range(16)})
    told = {"proc/self/cgroup": groups} | {f"sys/fs/cgroup/{k}": f"{v}\n" for k, v in files.items()}
    for name, text in told.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_cpus(tmp_path) == expected


def test_without_proc_the_affinity_alone_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {*range(16)})
    assert usable_cpus(tmp_path) == 16


def test_where_no_affinity_is_known_all_processors_count(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(os, "sched_getaffinity")
    monkeypatch.setattr(os, "cpu_count", lambda: 12)
    assert usable_cpus(tmp_path) == 12


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
    def fail(encoded: object, prompts: object) -> object:
        raise RuntimeError(message)

    engine = object.__new__(Engine)
    engine._whisper = SimpleNamespace(generate=fail)  # type: ignore[assignment]
    with pytest.raises(Exception, match=message) as caught:
        engine.generate(None, [])
    assert type(caught.value) is kind


@pytest.mark.parametrize(
    ("cpus", "chosen", "expected"),
    [
        (1, {}, (1, 1)),
        (2, {}, (2, 1)),
        (8, {}, (2, 4)),
        (32, {}, (4, 8)),
        (8, {"workers": 1}, (1, 8)),
        (8, {"threads": 2}, (4, 2)),
        (2, {"threads": 4}, (1, 4)),
        (8, {"workers": 3, "threads": 5}, (3, 5)),
        (2, {"workers": 4}, (4, 1)),
    ],
)
def test_workers_and_threads_fill_the_processors(
    cpus: int, chosen: dict[str, int], expected: tuple[int, int]
) -> None:
    assert share_threads(cpus, **chosen) == expected


def test_on_a_device_windows_without_text_are_no_longer_than_they_were_encoded() -> None:
    """CTranslate2 writes beyond its memory for more frames than there are, and the process ends."""
    asked: list[list[int]] = []

    def align(encoded: Any, start: Any, texts: list[list[int]], frames: list[int]) -> list[str]:
        asked.append(frames)
        return [f"{text} of {frame}" for text, frame in zip(texts, frames, strict=True)]

    engine = object.__new__(Engine)
    engine.device = "cuda"
    engine._whisper = SimpleNamespace(align=align)
    encoded = np.zeros((3, 500, 8), np.float32)
    assert engine.align(encoded, [1], [50_258], [[11]], [900]) == ["[11] of 900"]
    assert asked == [[1000, 900, 1000]]


class Overflowing:
    """Stands for CTranslate2's model on a device that computes no numbers but in some types."""

    is_multilingual, n_mels, model_is_loaded = False, 80, True
    works_in: tuple[str, ...] = ()

    def __init__(self, path: str, *, compute_type: str, **_: Any) -> None:
        self.compute_type = compute_type

    def encode(self, features: Any) -> Any:
        return SimpleNamespace(shape=[1, 1500, 8])

    def generate(self, encoded: Any, prompts: Any, **_: Any) -> list[Any]:
        score = -0.5 if self.compute_type in self.works_in else math.nan
        return [SimpleNamespace(sequences_ids=[[11]], scores=[score])]

    def align(self, *_: Any) -> list[Any]:
        return []


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
    monkeypatch.setattr(Overflowing, "works_in", works_in)
    monkeypatch.setattr(module.ctranslate2.models, "Whisper", Overflowing)
    settings = Settings(whisper_device="cpu", whisper_compute_type=chosen)
    if expected is None:
        with pytest.raises(EngineError, match="its numbers overflow"):
            Engine("base", Path("base"), settings)
    else:
        served: Any = Engine("base", Path("base"), settings)._whisper
        assert served.compute_type == expected
