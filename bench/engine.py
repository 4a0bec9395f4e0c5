"""The engine's speed against faster-whisper's: many clients, a long file, short clips, a clip behind a long file.

    PYTHONPATH=whisper-service python bench/engine.py --model DIRECTORY [CASE ...]

Cases: clients long adaptive behind; all of them if none is named. Peers run in processes of their own, on the
same processors and compute type, in turns with ours, and everything has been run once before it is timed; a
ratio above 1 means that ours is better. Ours shares out the processors as it does by default. Models of real cost
with micro's text: `python -m tools.micro_model.widen whisper-service/models/micro DIRECTORY --shape small`.
"""

import argparse
import asyncio
import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import TypeVar

import numpy as np
from app.machine import usable_cpus
from long_files import loaded
from ours import Ours
from peers import Peer
from report import ROOT, Row, report
from wav import SAMPLE_RATE, write_wav

DATA = ROOT / "tests" / "data"
SHORTEST, LONGEST, MOST_CLIENTS = 5.0, 30.0, 16

T = TypeVar("T")


@dataclass
class Bench:
    """Ours and theirs on one model."""

    ours: Ours
    peer: Callable[[int], Peer]
    """faster-whisper with so many windows at once, on all processors."""
    file: Path
    """Of `long`."""
    rounds: int

    def seconds(self, file: Path, **options: object) -> float:
        """Return how long ours takes."""
        return asyncio.run(self.ours.hear(file, **options)).end


def clients(bench: Bench) -> list[Row]:
    """1, 4 and 16 clients, each with one clip of 5 to 30 s; all come at once."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as folder, bench.peer(1) as bare, bench.peer(2) as workers:
        systems: dict[str, Callable[[list[Path]], list[float]]] = {
            "ours": lambda files: _together(bench, files),
            "behind a lock": lambda files: bare.ends(files, at_once=1),
            "num_workers=2": lambda files: workers.ends(files, at_once=len(files)),
        }
        clips = _clips(Path(folder))
        for count in (1, 4, MOST_CLIENTS):
            # Of 1 and 4 clients too the clips are of all lengths.
            files = clips[:: MOST_CLIENTS // count] if count > 1 else clips[MOST_CLIENTS // 2 :][:1]
            found = _in_turns({n: lambda s=s, f=files: s(f) for n, s in systems.items()}, bench)
            ours = median(max(ends) for ends in found["ours"])
            for name, measured in found.items():
                wall = median(max(ends) for ends in measured)
                rows.append(
                    {
                        "clients": count,
                        "system": name,
                        "seconds": wall,
                        "median latency": median(median(ends) for ends in measured),
                        "of the shortest quarter": median(
                            median(ends[: max(1, count // 4)]) for ends in measured
                        ),
                        "ours is faster by": wall / ours,
                    }
                )
    return rows


def _clips(folder: Path) -> list[Path]:
    """Write clips of rising length, each of whole sentences of a long recording."""
    truth = {entry["file"]: entry for entry in json.loads((DATA / "truth.json").read_text())}
    languages, written = ("en", "de", "fr", "es"), list[Path]()
    for number, wanted in enumerate(np.linspace(SHORTEST, LONGEST, MOST_CLIENTS)):
        # In turn, and also in every fourth of them.
        language = languages[(number + number // len(languages)) % len(languages)]
        name = f"long/{language}-90s.flac"
        begin = truth[name]["sentences"][number]["start"] - 0.1
        ends = [sentence["end"] + 0.1 for sentence in truth[name]["sentences"]]
        end = max(end for end in ends if end - begin <= max(wanted, ends[number] - begin))
        samples = loaded(DATA / name)[round(begin * SAMPLE_RATE) : round(end * SAMPLE_RATE)]
        written.append(write_wav(samples, folder / f"{number:02}.wav"))
    return written


def _in_turns(systems: dict[str, Callable[[], T]], bench: Bench) -> dict[str, list[T]]:
    """Run every system once, and then `rounds` times in turns; return what the latter gave."""
    for system in systems.values():
        system()
    found: dict[str, list[T]] = {name: [] for name in systems}
    for _ in range(bench.rounds):
        for name, system in systems.items():
            found[name].append(system())
    return found


def _together(bench: Bench, files: list[Path]) -> list[float]:
    """When each is done, in seconds from when all came."""

    async def everybody() -> list[float]:
        heard = await asyncio.gather(*(bench.ours.hear(file) for file in files))
        return [one.end for one in heard]

    return asyncio.run(everybody())


def long(bench: Bench) -> list[Row]:
    """A long file against the batched pipeline and the sequential one.

    By default the batched one tells times of its windows alone; ours of sentences, as it does when told to.
    """
    with bench.peer(1) as bare:
        systems = {
            "ours": lambda: bench.seconds(bench.file),
            "batched, 8": lambda: bare.seconds(bench.file, batch_size=8),
            "batched, 8, as ours": lambda: bare.seconds(
                bench.file, batch_size=8, without_timestamps=False, word_timestamps=True
            ),
            "WhisperModel": lambda: bare.seconds(bench.file, condition_on_previous_text=False),
        }
        times = {system: median(found) for system, found in _in_turns(systems, bench).items()}
    return [
        {
            "file": bench.file.name,
            "system": system,
            "seconds": seconds,
            "ours is faster by": seconds / times["ours"],
        }
        for system, seconds in times.items()
    ]


def adaptive(bench: Bench) -> list[Row]:
    """A clip of 5 s with and without the adaptive window, and whether the text is the same."""
    file = DATA / "short" / "de-2.wav"
    ways = {
        on: lambda on=on: asyncio.run(bench.ours.hear(file, adaptive_window=on))
        for on in (False, True)
    }
    found = _in_turns(ways, bench)
    plain, short = (median(heard.end for heard in found[on]) for on in ways)
    same = found[False][0].texts == found[True][0].texts
    return [
        {
            "clip": file.name,
            "30 s window": plain,
            "adaptive": short,
            "ratio": plain / short,
            "same text": "yes" if same else "no",
        }
    ]


def behind(bench: Bench) -> list[Row]:
    """A short clip that comes while a long file is worked on; with its language named it could share a batch."""
    clip = DATA / "short" / "en-1.wav"

    async def story(**options: object) -> tuple[float, float]:
        await bench.ours.hear(clip, **options)
        alone = (await bench.ours.hear(clip, **options)).end
        running = asyncio.ensure_future(bench.ours.hear(bench.file, **options))
        await asyncio.sleep(max(1.0, alone))
        waited = (await bench.ours.hear(clip, **options)).end
        if running.done():
            raise SystemExit(f"{bench.file.name} is too short: it had ended before the clip")
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return alone, waited

    rows: list[Row] = []
    for language, options in (("detected", {}), ("named", {"language": "en"})):
        alone, waited = asyncio.run(story(**options))
        rows.append(
            {
                "language": language,
                "alone": alone,
                "behind a long file": waited,
                "ratio": waited / alone,
            }
        )
    return rows


CASES = {case.__name__: case for case in (clients, long, adaptive, behind)}


def main() -> None:
    """Run the cases that are named, or all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "whisper-service/models/micro")
    parser.add_argument("--threads", type=int, default=usable_cpus(), help="of the peers")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--file", type=Path, default=DATA / "long" / "en-10min.mp3", help="a long one"
    )
    parser.add_argument("--rounds", type=int, default=1, help="the median counts")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"of {' '.join(CASES)}")
    args = parser.parse_args()
    if unknown := set(args.cases) - set(CASES):
        parser.error(f"no such case: {', '.join(sorted(unknown))}")

    def peer(workers: int) -> Peer:
        return Peer(
            args.model,
            device=args.device,
            compute_type=args.compute_type,
            cpu_threads=max(1, args.threads // workers),
            num_workers=workers,
        )

    ours = Ours(args.model, compute_type=args.compute_type, device=args.device)
    bench = Bench(ours, peer, args.file, args.rounds)
    for name in args.cases or CASES:
        rows = CASES[name](bench)
        threads = f", {args.threads} threads for the peers" if args.device == "cpu" else ""
        remarks = f"{args.model.name}, {args.compute_type} on {args.device}{threads}"
        report(f"engine_{name}_{args.model.name}_{args.device}", rows, remarks)
    ours.close()


if __name__ == "__main__":
    main()
