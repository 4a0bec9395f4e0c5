"""The engine against faster-whisper: throughput of many clients, a long file, short clips, memory.

    PYTHONPATH=whisper-service python bench/engine.py --model DIRECTORY [CASE ...]

Cases: clients long adaptive behind memory crowd soak. Peers run in the same process, on the same threads and
compute type, and take turns with ours; a ratio above 1 means that ours is better. Ours shares out the
processors as it does by default, theirs get them all for one window. Models of real cost
with micro's text: `python -m tools.micro_model.widen whisper-service/models/micro DIRECTORY --shape small`.
"""

import argparse
import asyncio
import gc
import math
import resource
import tempfile
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from functools import cached_property
from pathlib import Path
from statistics import median
from typing import Any

from app.audio import Cage
from app.decoding.station import Station
from app.engine import usable_cpus
from app.models import Models
from app.settings import Settings
from app.transcribe import Transcriber
from app.uploads import Upload
from app.wire import Options, Segment
from faster_whisper import BatchedInferencePipeline, WhisperModel
from long_files import loaded, write_repeated
from report import Row, report
from wav import SAMPLE_RATE, write_wav

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"
CLIPS = sorted((DATA / "short").glob("*.wav"))


class Bench:
    """Ours and theirs on one model."""

    def __init__(self, directory: Path, threads: int, compute_type: str, device: str) -> None:
        self.settings = Settings(
            whisper_models=["bench"],
            whisper_aliases={"bench": str(directory)},
            whisper_device=device,
            whisper_compute_type=compute_type,
            whisper_max_queue_seconds=1e9,  # `crowd` opens more hours than a day has
        )
        self.models = Models(self.settings, lambda name, path: Station(name, path, self.settings))
        if not self.models.load_all():
            raise SystemExit("the model could not be loaded")
        self.cage = Cage()
        self.transcriber = Transcriber(self.settings, self.models, self.cage)
        self.file = DATA / "long" / "en-90s.flac"
        self.hours = 3.0
        self.requests = 10_000
        self.rounds = 1

        def peer(workers: int) -> WhisperModel:
            return WhisperModel(
                str(directory),
                device=device,
                compute_type=compute_type,
                cpu_threads=max(1, threads // workers),
                num_workers=workers,
            )

        self._peer = peer

    @cached_property
    def bare(self) -> WhisperModel:
        """faster-whisper with all threads for one window."""
        return self._peer(1)

    @cached_property
    def two_workers(self) -> WhisperModel:
        """faster-whisper with two windows at once."""
        return self._peer(2)

    async def ours(
        self, file: Path, *, most: float = math.inf, **options: Any
    ) -> tuple[float, float, int]:
        """Seconds until the first segment and the end, or `most` segments, and their number."""
        began, first, count = time.monotonic(), 0.0, 0
        upload = Upload(file.open("rb"), 0, Options(**options))
        async with aclosing(self.transcriber.transcribe("bench", upload, file.name)) as events:
            async for event in events:
                if isinstance(event, Segment):
                    count += 1
                    first = first or time.monotonic() - began
                if count >= most:
                    break
        return first, time.monotonic() - began, count

    def close(self) -> None:
        self.models.close()
        self.cage.close()


def clients(bench: Bench) -> list[Row]:
    """1, 4 and 16 clients, each with one clip of 2 to 10 s; all come at once."""
    rows: list[Row] = []
    lock = threading.Lock()

    def behind_lock(file: Path) -> None:
        with lock:
            list(bench.bare.transcribe(str(file))[0])

    def on_workers(file: Path) -> None:
        list(bench.two_workers.transcribe(str(file))[0])

    for count in (1, 4, 16):
        files = [CLIPS[n % len(CLIPS)] for n in range(count)]
        found = {
            "ours": _together(bench, files),
            "behind a lock": _threads(behind_lock, files),
            "num_workers=2": _threads(on_workers, files),
        }
        ours = found["ours"]
        for name, (wall, latency) in found.items():
            rows.append(
                {
                    "clients": count,
                    "system": name,
                    "seconds": wall,
                    "median latency": latency,
                    "ours is faster by": wall / ours[0],
                }
            )
    return rows


def _together(bench: Bench, files: list[Path]) -> tuple[float, float]:
    async def everybody() -> list[tuple[float, float, int]]:
        return list(await asyncio.gather(*(bench.ours(file) for file in files)))

    began = time.monotonic()
    found = asyncio.run(everybody())
    return time.monotonic() - began, median(end for _, end, _ in found)


def _threads(transcribe: Callable[[Path], None], files: list[Path]) -> tuple[float, float]:
    began = time.monotonic()

    def ask(file: Path) -> float:
        transcribe(file)
        return time.monotonic() - began

    with ThreadPoolExecutor(len(files)) as pool:
        ends = list(pool.map(ask, files))
    return max(ends), median(ends)


def long(bench: Bench) -> list[Row]:
    """A long file against the batched pipeline and the sequential one."""
    file = bench.file
    batched = BatchedInferencePipeline(bench.bare)
    systems: dict[str, Callable[[], object]] = {
        "ours": lambda: asyncio.run(bench.ours(file)),
        "batched, 8": lambda: list(batched.transcribe(str(file))[0]),
        "WhisperModel": lambda: list(
            bench.bare.transcribe(str(file), condition_on_previous_text=False)[0]
        ),
    }
    times = {
        name: median(timed(system) for _ in range(bench.rounds)) for name, system in systems.items()
    }
    return [
        {
            "file": file.name,
            "system": name,
            "seconds": seconds,
            "ours is faster by": seconds / times["ours"],
        }
        for name, seconds in times.items()
    ]


def timed(call: Callable[[], object]) -> float:
    """Seconds of one call."""
    began = time.monotonic()
    call()
    return time.monotonic() - began


def adaptive(bench: Bench) -> list[Row]:
    """A clip of 5 s with and without the adaptive window; texts must be the same to count."""
    file = DATA / "short" / "de-2.wav"
    rounds = [
        [timed(lambda on=on: asyncio.run(bench.ours(file, adaptive_window=on))) for on in (0, 1)]
        for _ in range(3)
    ]
    plain, short = (median(column) for column in zip(*rounds, strict=True))
    return [{"clip": file.name, "30 s window": plain, "adaptive": short, "ratio": plain / short}]


def behind(bench: Bench) -> list[Row]:
    """A short clip that comes while a long file is being worked on."""
    clip, file = DATA / "short" / "en-1.wav", DATA / "long" / "en-90s.flac"

    async def story() -> tuple[float, float]:
        alone = (await bench.ours(clip))[1]
        running = asyncio.ensure_future(bench.ours(file))
        await asyncio.sleep(alone)
        waited = (await bench.ours(clip))[1]
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return alone, waited

    alone, waited = asyncio.run(story())
    return [{"alone": alone, "behind a long file": waited, "ratio": waited / alone}]


def memory(bench: Bench) -> list[Row]:
    """Resident memory and first segment of a file of hours beside one of 30 s (with micro)."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as name:
        short, hours = Path(name) / "short.wav", Path(name) / "hours.mp3"
        samples = loaded()
        write_wav(samples[: 30 * SAMPLE_RATE], short)
        write_repeated(samples, bench.hours * 3600, hours)
        asyncio.run(bench.ours(short, beam_size=1))
        for file in (short, hours):
            before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            first, end, segments = asyncio.run(bench.ours(file, beam_size=1))
            after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            rows.append(
                {
                    "file": file.name,
                    "first segment": first,
                    "seconds": end,
                    "segments": segments,
                    "MB more": after - before,
                }
            )
    return rows


def crowd(bench: Bench) -> list[Row]:
    """Memory of many long files that are open at once, until each has had text for a while (with micro)."""
    rows: list[Row] = []

    async def story(file: Path, files: int) -> tuple[float, float]:
        most = 0.0
        everybody = asyncio.gather(*(bench.ours(file, most=20, beam_size=1) for _ in range(files)))
        while not everybody.done():
            most = max(most, _resident_mb())
            await asyncio.sleep(0.05)
        return median(first for first, _, _ in await everybody), most

    with tempfile.TemporaryDirectory() as name:
        hours = Path(name) / "hours.mp3"
        write_repeated(loaded(), bench.hours * 3600, hours)
        asyncio.run(bench.ours(CLIPS[0], beam_size=1))
        idle = _resident_mb()
        for files in (1, 4, 16, 64):
            first, most = asyncio.run(story(hours, files))
            rows.append(
                {
                    "files": files,
                    "median first segment": first,
                    "MB more": most - idle,
                    "MB more a file": (most - idle) / files,
                }
            )
    return rows


def soak(bench: Bench) -> list[Row]:
    """Memory, threads and open files over many short requests, four at a time."""
    clip = DATA / "short" / "en-1.wav"
    rows: list[Row] = []

    async def four() -> None:
        await asyncio.gather(
            *(bench.ours(clip, adaptive_window=True, beam_size=1) for _ in range(4))
        )

    async def story() -> None:
        for number in range(bench.requests // 4 + 1):
            if number % (bench.requests // 16) == 0:
                gc.collect()
                row: Row = {
                    "requests": number * 4,
                    "resident MB": _resident_mb(),
                    "threads": threading.active_count(),
                    "files": len(list(Path("/proc/self/fd").iterdir())),
                }
                print(*row.values(), flush=True)  # it takes long, and is worth something unfinished
                rows.append(row)
            await four()

    asyncio.run(story())
    return rows


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize() / 1024**2


CASES = {
    case.__name__: case for case in (clients, long, adaptive, behind, memory, crowd, soak)
}  # in the order in which they run


def main() -> None:
    """Run the cases that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "whisper-service/models/micro")
    parser.add_argument("--threads", type=int, default=usable_cpus(), help="of the peers")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--file", type=Path, default=None, help="of `long`")
    parser.add_argument("--rounds", type=int, default=1, help="of `long`; the median counts")
    parser.add_argument(
        "--hours", type=float, default=3, help="length of the files of `memory` and `crowd`"
    )
    parser.add_argument("--requests", type=int, default=10_000, help="of `soak`")
    parser.add_argument("cases", nargs="*", default=list(CASES), choices=[*CASES, []])
    args = parser.parse_args()
    bench = Bench(args.model, args.threads, args.compute_type, args.device)
    bench.hours, bench.requests, bench.rounds = args.hours, args.requests, args.rounds
    bench.file = args.file or bench.file
    for name in args.cases:
        rows = CASES[name](bench)
        remarks = f"{args.model.name}, {args.compute_type}, {args.threads} threads"
        report(f"engine_{name}_{args.model.name}", rows, remarks)
    bench.close()


if __name__ == "__main__":
    main()
