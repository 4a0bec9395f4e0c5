"""What a very long file costs before the model: memory and time of decode, VAD, windows and mel; and drift.

    PYTHONPATH=whisper-service python bench/front_end_memory.py [--hours 3] [--formats wav mp3 m4a flac]

Each format runs in a process of its own. Growth is that process's peak of resident memory over what it
held when everything was loaded and a short file had been through; the decoder's child is counted in.
Drift is where the samples of a window really come from (by correlation with the file that was repeated)
against where the window says so; the bar is 300 MB of growth and 0 samples of drift from first to last.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
from app.audio import Cage
from app.mel import log_mel
from app.vad import VadOptions
from app.windows import Window, cut_windows
from long_files import FORMATS, SAMPLE_RATE, SPEECH, loaded, write_repeated
from report import report
from resident import own_memory_of_children, peak, reset_peak, resident

N_MELS = 128
REACH = 4096
"""Samples, either way, among which a window's true place is looked for: codecs delay by up to 2112."""


def main() -> None:
    """Make the files, measure each in its own process, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--hours", type=float, default=3)
    parser.add_argument("--formats", nargs="+", choices=FORMATS, default=list(FORMATS))
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments.measure)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for suffix in arguments.formats:
            path = Path(folder) / f"long.{suffix}"
            write_repeated(loaded(), arguments.hours * 3600, path)
            command = [sys.executable, __file__, "--measure", str(path)]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
            rows.append(
                {"format": suffix, "file MB": path.stat().st_size / 1e6} | json.loads(done.stdout)
            )
            path.unlink()
    report("front_end_memory", rows, f"{arguments.hours:g} h of speech through the front end")


def measure(path: Path) -> dict[str, float]:
    """Send a short file and then `path` through the front end; return what the latter took."""
    with Cage() as cage:
        for window in windows(cage, SPEECH):
            log_mel(window.samples, N_MELS)
        idle = resident()
        reset_peak()
        child = 0.0
        began, spent = time.perf_counter(), time.process_time()
        first, lags, seen = 0.0, [], []
        source = loaded()
        for number, window in enumerate(windows(cage, path)):
            log_mel(window.samples, N_MELS)
            first = first or time.perf_counter() - began
            seen.append((window.start, window.end))
            if number % 10 == 0:
                child = max(child, own_memory_of_children(cage.pid))
                lags.append(lag(window, source))
        return {
            "hours": seen[-1][1] / 3600,
            "windows": len(seen),
            "idle MB": idle,
            "growth MB": peak() - idle + child,
            "first window ms": first * 1e3,
            "wall s/h": (time.perf_counter() - began) / seen[-1][1] * 3600,
            "own CPU s/h": (time.process_time() - spent) / seen[-1][1] * 3600,
            "lag": lags[0],
            "drift": max(lags) - min(lags),
            "overlaps": sum(before[1] > after[0] for before, after in pairwise(seen)),
        }


def windows(cage: Cage, path: Path) -> Iterator[Window]:
    """Yield the windows of a file."""
    with path.open("rb") as file, cage.open(file, max_seconds=1e6) as audio:
        yield from cut_windows(audio.blocks(), VadOptions())


def lag(window: Window, source: np.ndarray) -> int:
    """Return by how many samples a window lies later than in the repeated `source`."""
    size = SAMPLE_RATE // 2
    middle = len(window.samples) // 2
    heard = window.samples[middle : middle + size]
    place = round(window.time(middle / SAMPLE_RATE) * SAMPLE_RATE)
    around = np.arange(place - REACH, place + len(heard) + REACH) % len(source)
    matches = np.correlate(source[around], heard)
    return REACH - int(matches.argmax())


if __name__ == "__main__":
    main()
