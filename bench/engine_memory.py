"""What the worker's engine keeps in memory: files of hours, many of them at once, thousands of requests.

    PYTHONPATH=whisper-service python bench/engine_memory.py [--model DIRECTORY] [CASE ...]

Cases: hours crowd soak; all of them if none is named, which takes hours with a model of real cost. MB more
are over the idle state: this process's peak until then, and the decoder's child, over what was resident when
the model was loaded and a short file had been through (the goal: 300). Memory that was used once is kept for
the next file, so a row has what those before it needed too.
"""

import argparse
import asyncio
import gc
import tempfile
import threading
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from long_files import FORMATS, loaded, write_repeated
from ours import Heard, Ours
from report import ROOT, Row, report
from resident import own_memory_of_children, peak, reset_peak, resident
from wav import SAMPLE_RATE, write_wav

CLIP = ROOT / "tests" / "data" / "short" / "en-1.wav"
CROWDS = (1, 4, 16, 64)
SEGMENTS = 20
"""After so many each file of a crowd is left."""


@dataclass
class Bench:
    """The engine, and how long its files are."""

    ours: Ours
    seconds: float
    formats: list[str]
    requests: int
    beam_size: int
    idle: float = 0.0
    """MB that are resident when a short file has been through."""

    async def hear(self, file: Path, **options: Any) -> Heard:
        """Transcribe a file."""
        return await self.ours.hear(file, beam_size=self.beam_size, **options)

    def settle(self) -> None:
        """Come to the idle state."""
        asyncio.run(self.hear(CLIP))
        gc.collect()
        self.idle = resident()
        reset_peak()


@dataclass
class Growth:
    """The most memory in MB over the idle state, the decoders' children counted in."""

    bench: Bench
    more: float = 0.0

    async def __aenter__(self) -> "Growth":
        self._children = 0.0
        self._watching = asyncio.ensure_future(self._watch())
        return self

    async def __aexit__(self, *error: object) -> None:
        self._watching.cancel()
        self.more = peak() - self.bench.idle + self._children

    async def _watch(self) -> None:
        while True:
            self._children = max(self._children, own_memory_of_children(self.bench.ours.cage.pid))
            await asyncio.sleep(0.2)


def hours(bench: Bench) -> list[Row]:
    """Memory and first segment of a file of hours in each format, beside one of 30 s.

    The last column says whether any text was lost or doubled: segments over those of the file that was
    repeated, times the rounds.
    """
    samples = loaded()
    rows: list[Row] = []

    async def story(file: Path) -> tuple[Heard, float]:
        async with Growth(bench) as growth:
            heard = await bench.hear(file)
        return heard, growth.more

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        short = write_wav(samples[: 30 * SAMPLE_RATE], folder / "30s.wav")
        once = write_wav(samples, folder / "once.wav")
        of_one_round = len(asyncio.run(bench.hear(once)).texts)
        asyncio.run(story(short))  # the first request of all
        first_of_short = asyncio.run(story(short))[0].first
        for suffix in bench.formats:
            file = folder / f"hours.{suffix}"
            rounds = write_repeated(samples, bench.seconds, file) / len(samples)
            heard, more = asyncio.run(story(file))
            rows.append(
                {
                    "file": file.name,
                    "first segment": heard.first,
                    "to that of 30 s": heard.first / first_of_short,
                    "seconds": heard.end,
                    "MB more": more,
                    "segments": len(heard.texts),
                    "of those expected": len(heard.texts) / (rounds * of_one_round),
                }
            )
            file.unlink()
    return rows


def crowd(bench: Bench) -> list[Row]:
    """Memory of many long files that are open at once, until each has had text for a while."""
    rows: list[Row] = []

    async def story(file: Path, files: int) -> tuple[float, float]:
        async with Growth(bench) as growth:
            heard = await asyncio.gather(*(bench.hear(file, most=SEGMENTS) for _ in range(files)))
        return median(one.first for one in heard), growth.more

    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "hours.mp3"
        write_repeated(loaded(), bench.seconds, file)
        for files in CROWDS:
            first, more = asyncio.run(story(file, files))
            rows.append(
                {
                    "files": files,
                    "median first segment": first,
                    "MB more": more,
                    "MB more a file": more / files,
                }
            )
    return rows


def soak(bench: Bench) -> list[Row]:
    """Memory, threads and open files over many short requests, four at a time."""
    rows: list[Row] = []

    async def four() -> None:
        await asyncio.gather(*(bench.hear(CLIP, adaptive_window=True) for _ in range(4)))

    async def story() -> None:
        for number in range(bench.requests // 4 + 1):
            if number % (bench.requests // 16) == 0:
                gc.collect()
                row: Row = {
                    "requests": number * 4,
                    "resident MB": resident(),
                    "threads": threading.active_count(),
                    "files": len(list(Path("/proc/self/fd").iterdir())),
                }
                print(*row.values(), flush=True)  # it takes long, and is worth something unfinished
                rows.append(row)
            await four()

    asyncio.run(story())
    return rows


CASES = {case.__name__: case for case in (hours, crowd, soak)}


def main() -> None:
    """Run the cases that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "whisper-service/models/micro")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--hours", type=float, default=3, help="length of `hours` and `crowd`")
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--requests", type=int, default=10_000, help="of `soak`")
    parser.add_argument("--beam-size", type=int, default=5)
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {' '.join(CASES)}")
    args = parser.parse_args()
    if unknown := set(args.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")
    ours = Ours(args.model, compute_type=args.compute_type)
    requests = max(16, args.requests)
    bench = Bench(ours, args.hours * 3600, args.formats, requests, args.beam_size)
    bench.settle()
    for name in args.cases or CASES:
        rows = CASES[name](bench)
        report(f"engine_{name}_{args.model.name}", rows, f"{args.model.name}, {args.compute_type}")
    ours.close()


if __name__ == "__main__":
    main()
