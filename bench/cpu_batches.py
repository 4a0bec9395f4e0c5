"""How to share out a CPU: workers x threads x windows in a batch, on the bare CTranslate2 model.

    PYTHONPATH=whisper-service python bench/cpu_batches.py --model DIRECTORY [--windows 32]

Each way works through the same windows of 28 s: encoded one by one, decoded together. The engine's defaults
(`share_threads`, `CPU_BATCH`) are what is best here, with a model of real cost (see engine.py), on the
machines where this was run.
"""

import argparse
import itertools
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from app.machine import keep_freed_memory, share_threads, usable_cpus
from app.mel import log_mel
from ctranslate2 import StorageView
from ctranslate2.models import Whisper
from faster_whisper import decode_audio
from report import ROOT, Row, report
from wav import SAMPLE_RATE

DATA = ROOT / "tests" / "data"
SECONDS = 28
START = ["<|startoftranscript|>", "<|en|>", "<|transcribe|>"]
"""With timestamps, as the engine asks on a CPU."""


def main() -> None:
    """Measure one window on all processors, the way that the engine chooses, and a window on each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    # Enough for every worker, whatever the batch.
    parser.add_argument("--windows", type=int, default=4 * usable_cpus())
    args = parser.parse_args()
    keep_freed_memory()
    samples = decode_audio(str(DATA / "long" / "en-90s.flac"))
    size, bands = SECONDS * SAMPLE_RATE, Whisper(str(args.model)).n_mels
    begins = np.linspace(0, len(samples) - size, args.windows).astype(int)
    mels = [log_mel(samples[at : at + size], bands)[np.newaxis] for at in begins]
    cpus = usable_cpus()
    ways = {(1, cpus), share_threads(cpus), (cpus, 1)}
    rows = [
        measure(args.model, mels, workers, threads, batch)
        for (workers, threads), batch in itertools.product(sorted(ways), (1, 2, 4))
    ]
    best = min(float(row["seconds"]) for row in rows)
    rows = [row | {"to the best": float(row["seconds"]) / best} for row in rows]
    report(f"cpu_batches_{args.model.name}", rows, f"{args.windows} windows, int8, beam 5")


def measure(model: Path, mels: list[Any], workers: int, threads: int, batch: int) -> dict[str, Any]:
    """Work through all windows, `workers` batches at a time."""
    whisper = Whisper(str(model), compute_type="int8", inter_threads=workers, intra_threads=threads)

    def run(group: list[Any]) -> tuple[float, float]:
        began = time.monotonic()
        encoded = [np.asarray(whisper.encode(StorageView.from_array(mel))) for mel in group]
        middle = time.monotonic()
        together = StorageView.from_array(np.concatenate(encoded))
        whisper.generate(together, [START] * len(group), beam_size=5)
        return middle - began, time.monotonic() - middle

    groups = [mels[at : at + batch] for at in range(0, len(mels), batch)]
    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(run, groups[:workers]))
        began = time.monotonic()
        times = list(pool.map(run, groups))
    row: Row = {
        "workers": workers,
        "threads": threads,
        "batch": batch,
        "seconds": time.monotonic() - began,
        "encoding, a window": sum(t[0] for t in times) / len(mels),
        "decoding, a window": sum(t[1] for t in times) / len(mels),
    }
    return dict(row)


if __name__ == "__main__":
    main()
