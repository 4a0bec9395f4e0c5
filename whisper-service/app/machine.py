"""What the machine offers a model: devices and their number types, processors, memory."""

import ctypes
import importlib.util
import math
import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

import ctranslate2

from .settings import Settings

M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX = -1, -4, -8
"""glibc's names for them (malloc.h); other C libraries do not know them and ignore them."""
MOST_BYTES = 2**31 - 1
THREADS_PER_WORKER = 8
"""More threads than this on one window gain little; then more workers are better."""
LEAST_WORKERS = 2
"""Decoding's small steps leave threads idle, so two batches at once are better than one with all threads."""


def usable_devices(settings: Settings) -> list[tuple[str, str]]:
    """Return the devices with the compute types to try, the best first.

    Raises ValueError, naming the supported types, for a compute type that the device does not have.
    """
    device = settings.whisper_device
    if device != "cpu":
        _preload_cublas()
    has_cuda = device != "cpu" and ctranslate2.get_cuda_device_count() > 0
    if device == "cuda" and not has_cuda:
        raise ValueError("WHISPER_DEVICE is cuda, but no CUDA device can be used")
    # A driver alone makes a device that is counted: whether libraries fit is seen when a model runs.
    devices = ["cuda"] if has_cuda else []
    devices += [] if device == "cuda" else ["cpu"]
    supported = {name: ctranslate2.get_supported_compute_types(name) for name in devices}
    wanted = settings.whisper_compute_type
    if wanted is not None and wanted not in supported[devices[0]]:
        raise ValueError(
            f"WHISPER_COMPUTE_TYPE {wanted} is not supported on {devices[0]}; "
            f"supported: {', '.join(sorted(supported[devices[0]]))}"
        )
    return [
        (name, kind)
        for name in devices
        for kind in ([wanted] if wanted else _best_types(name, supported[name]))
        if kind in supported[name]
    ]


def _best_types(device: str, supported: Collection[str]) -> tuple[str, ...]:
    if device == "cpu":
        return "int8", "float32"
    if "float16" in supported:
        return "float16", "float32"
    return "int8_float32", "float32"  # on cards before Volta


def smaller_type(device: str, kind: str) -> str | None:
    """The compute type that takes half of the memory or less at the same precision of sums; None without one."""
    smaller = f"int8_{kind}"
    return smaller if smaller in ctranslate2.get_supported_compute_types(device) else None


def _preload_cublas() -> None:
    """Load cuBLAS from its wheel, which is not on the loader's path, where it is installed."""
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or [] if spec else []:
        for library in ("libcublasLt.so.12", "libcublas.so.12"):
            path = Path(folder) / "cublas" / "lib" / library
            if path.is_file():
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def usable_cpus(root: Path = Path("/")) -> int:
    """Processors that this process may use: the affinity mask, cut by the cgroups' quotas."""
    known = hasattr(os, "sched_getaffinity")  # not outside Linux
    own = len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1
    return max(1, min([own, *_cpu_quotas(root)]))


def _cpu_quotas(root: Path) -> Iterator[int]:
    """Whole processors that the cgroup of this process and each above it may use."""
    for folder, is_v1 in _cgroups(root, "cpu"):
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if is_v1 else ("cpu.max",)
        found = " ".join(_text(folder / name) for name in names).split()
        if len(found) == 2 and found[0] not in ("max", "-1"):  # both: no quota
            yield int(found[0]) // int(found[1])


def usable_memory(root: Path = Path("/")) -> float:
    """Bytes that this process may use: the machine's, cut by the cgroups' limits; infinite where nothing tells."""
    told = re.search(r"MemTotal:\s+(\d+) kB", _text(root / "proc/meminfo"))
    limits = [int(told[1]) * 1024] if told else []
    for folder, is_v1 in _cgroups(root, "memory"):
        limit = _text(folder / ("memory.limit_in_bytes" if is_v1 else "memory.max")).strip()
        if limit.isdecimal():
            limits.append(int(limit))
    return min(limits, default=math.inf)


def _cgroups(root: Path, controller: str) -> Iterator[tuple[Path, bool]]:
    """Folders of the cgroup of this process and each above it, and whether they are version 1's; see cgroups(7).

    A container may see its own group as the top one, and still be told the host's path to it: folders
    that are not there say nothing.
    """
    groups = _text(root / "proc/self/cgroup")
    for _, controllers, path in (line.split(":", 2) for line in groups.splitlines()):
        if controllers and controller not in controllers.split(","):
            continue
        top = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = top / path.lstrip("/")
        for folder in (group, *group.parents):
            if not folder.is_relative_to(top):
                break
            yield folder, bool(controllers)


def _text(file: Path) -> str:
    try:
        return file.read_text()
    except OSError:
        return ""


def share_threads(cpus: int, *, workers: int = 0, threads: int = 0) -> tuple[int, int]:
    """Workers and threads of each, so that together they fill `cpus` as far as it goes; 0 means chosen here."""
    if not workers:
        least = min(LEAST_WORKERS, cpus)
        workers = max(1, cpus // threads) if threads else max(least, cpus // THREADS_PER_WORKER)
        if not threads and cpus % workers and cpus % (workers + 1) == 0:
            workers += 1  # 3 and 9 processors go up into three parts, not into two
    return workers, threads or max(1, cpus // workers)


def keep_freed_memory() -> None:
    """Make glibc keep what a layer has used for the next one.

    By default each of the encoder's large arrays (100 MB in `small`) is mapped anew and given back when it
    is freed, and the kernel clears its pages each time: a third of the time of a short clip. One
    heap for all threads, so that none keeps a large array for itself.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(M_MMAP_MAX, 0)
        mallopt(M_TRIM_THRESHOLD, MOST_BYTES)
        mallopt(M_ARENA_MAX, 1)
