"""What the decoder's cage costs: time for an hour of audio, latency of a short clip, memory of a child.

    PYTHONPATH=whisper-service python bench/decoder_cage.py [--minutes 20]

Caged and bare runs alternate in one process; times are the medians of wall clock, since the cage's work
is done in another process.
"""

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from app.audio import AudioReader, Cage
from long_files import FORMATS, SAMPLE_RATE, loaded, write_repeated
from report import report
from resident import children, own_memory, resident

RUNS = 5
CLIP_RUNS = 41
FOREVER = 1e6


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=20)
    minutes = parser.parse_args().minutes
    samples = loaded()
    with tempfile.TemporaryDirectory() as folder, Cage() as cage:
        rows = []
        for suffix in FORMATS:
            path = Path(folder) / f"long.{suffix}"
            seconds = write_repeated(samples, minutes * 60, path) / SAMPLE_RATE
            bare, caged = alternate(
                RUNS, lambda p=path: bare_run(p), lambda p=path: caged_run(cage, p)
            )
            hours = seconds / 3600
            rows.append({"format": suffix, "minutes": seconds / 60, "bare s/h": bare / hours,
                         "caged s/h": caged / hours, "ratio": caged / bare})  # fmt: skip
        report("decoder_cage_throughput", rows, "seconds for an hour of audio")

        clip = Path(folder) / "clip.wav"
        write_repeated(samples[: 2 * SAMPLE_RATE], 2, clip)
        bare, caged = alternate(CLIP_RUNS, lambda: bare_run(clip), lambda: caged_run(cage, clip))
        began = time.perf_counter()
        with Cage() as fresh:
            caged_run(fresh, clip)
            start = time.perf_counter() - began
        report("decoder_cage_latency", [
            {"clip": "2 s wav", "bare ms": bare * 1e3, "caged ms": caged * 1e3,
             "added ms": (caged - bare) * 1e3, "first after start ms": start * 1e3},
        ])  # fmt: skip
        report("decoder_cage_memory", [memory(cage, Path(folder) / f"long.{s}") for s in FORMATS])


def bare_run(path: Path) -> None:
    """Decode in this process."""
    with path.open("rb") as file, AudioReader(file, max_seconds=FOREVER) as reader:
        for _ in reader.blocks():
            pass


def caged_run(cage: Cage, path: Path) -> None:
    """Decode in a child."""
    with path.open("rb") as file, cage.open(file, max_seconds=FOREVER) as audio:
        for _ in audio.blocks():
            pass


def alternate(
    runs: int, bare: Callable[[], None], caged: Callable[[], None]
) -> tuple[float, float]:
    """Return the median seconds of both, run in turn."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(runs):
        for action, taken in zip((bare, caged), times, strict=True):
            began = time.perf_counter()
            action()
            taken.append(time.perf_counter() - began)
    return median(times[0]), median(times[1])


def memory(cage: Cage, path: Path) -> dict[str, str | float]:
    """Return what a child in the middle of `path` holds, all of it and what is its own."""
    with path.open("rb") as file, cage.open(file, max_seconds=FOREVER) as audio:
        blocks = audio.blocks()
        for _ in range(100):
            next(blocks)
        [child] = children(cage.pid)
        return {
            "format": path.suffix[1:],
            "child MB": resident(child),
            "its own MB": own_memory(child),
            "forking process MB": resident(cage.pid),
        }


if __name__ == "__main__":
    main()
