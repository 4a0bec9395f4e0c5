"""How many processors a worker counts on, and how it shares them out."""

import math
import os
from pathlib import Path

import pytest
from worker.machine import share_threads, usable_cpus, usable_memory

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


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        (V2.format("/"), {}, 8 * 2**30),
        (V2.format("/"), {"memory.max": "max"}, 8 * 2**30),
        (
            V2.format("/pod/service"),
            {"pod/memory.max": "1000", "pod/service/memory.max": "5000"},
            1000,
        ),
        ("4:memory:/docker/1\n", {"memory/docker/1/memory.limit_in_bytes": "7000"}, 7000),
        ("4:memory:/\n", {"memory/memory.limit_in_bytes": "9223372036854771712"}, 8 * 2**30),
    ],
)
def test_memory_is_the_machines_or_the_smallest_limit_above(
    groups: str, files: dict[str, str], expected: int, tmp_path: Path
) -> None:
    told = {
        "proc/self/cgroup": groups,
        "proc/meminfo": "MemTotal:        8388608 kB\nMemFree: 1 kB",
    }
    told |= {f"sys/fs/cgroup/{name}": f"{text}\n" for name, text in files.items()}
    for name, text in told.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    assert usable_memory(tmp_path) == expected


def test_where_nothing_tells_of_memory_it_has_no_limit(tmp_path: Path) -> None:
    assert usable_memory(tmp_path) == math.inf


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
    ("cpus", "chosen", "expected"),
    [
        (1, {}, (1, 1)),
        (2, {}, (2, 1)),
        (3, {}, (3, 1)),
        (8, {}, (2, 4)),
        (9, {}, (3, 3)),
        (15, {}, (3, 5)),
        (32, {}, (4, 8)),
        (35, {}, (5, 7)),
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
