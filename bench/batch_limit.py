"""What batches cost on a device, and how near the engine comes to the bare model that does nothing else.

    PYTHONPATH=whisper-service python bench/batch_limit.py --model DIRECTORY \\
        [--device cuda --compute-type float16] [--windows 16] [--clients 16]

First table: the same windows in batches of 1, 4, 8 and 16, beams of 1 and 5, with and without timestamp
tokens. Second: that many clients of 30 s at once, against one at a time (the goal on a GPU: 3 times as
fast) and against CTranslate2's calls alone on the same windows, cut and transformed beforehand, in full
batches on as many workers (the goal: 0.9 of its speed).
"""

import argparse
import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
from app.decoding.plan import vad_options
from app.decoding.station import Station
from app.mel import FULL_FRAMES, Mel, log_mel
from app.windows import cut_windows
from app.wire import VadParameters
from long_files import loaded
from ours import Ours
from report import Row, report
from wav import SAMPLE_RATE, write_wav

SECONDS = 30
SIZES, BEAMS = (1, 4, 8, 16), (1, 5)


def main() -> None:
    """Measure and print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--compute-type", default="int8")
    parser.add_argument("--windows", type=int, default=16)
    parser.add_argument("--clients", type=int, default=16)
    args = parser.parse_args()
    ours = Ours(args.model, compute_type=args.compute_type, device=args.device)
    station = ours.station
    clips = _clips(max(args.windows, args.clients))
    mels = [mel for clip in clips for mel in _windows(clip, station.engine.mels)]
    remarks = f"{args.model.name}, {args.compute_type} on {args.device}"
    report(f"batches_{args.model.name}", batches(station, mels[: args.windows]), remarks)
    rows = limit(ours, clips[: args.clients])
    report(f"batch_limit_{args.model.name}", rows, remarks)
    ours.close()


def batches(station: Station, mels: Sequence[Mel]) -> list[Row]:
    """Encode and decode the windows, so many at a time."""
    rows: list[Row] = []
    for beam, timestamps in product(BEAMS, (False, True)):
        prompt = station.vocabulary.prompt(language="en", task="transcribe", timestamps=timestamps)
        alone = 0.0
        for size in SIZES:
            seconds = _warm(partial(_decode, station, mels, size, prompt, beam))
            alone = alone or seconds
            rows.append(
                {
                    "beam": beam,
                    "timestamps": "yes" if timestamps else "no",
                    "batch": size,
                    "ms a window": 1000 * seconds / len(mels),
                    "faster than one by one": alone / seconds,
                }
            )
    return rows


def _decode(station: Station, mels: Sequence[Mel], size: int, prompt: list[int], beam: int) -> None:
    for group in _groups(mels, size):
        encoded, _ = station.engine.encode(group, [None] * len(group))
        station.engine.generate(encoded, [prompt] * len(group), beam_size=beam, max_length=448)


def limit(ours: Ours, clips: Sequence[np.ndarray]) -> list[Row]:
    """All clients at once, one at a time, and the model's bare calls on the same windows."""
    station = ours.station
    mels = [mel for clip in clips for mel in _windows(clip, station.engine.mels)]
    with tempfile.TemporaryDirectory() as folder:
        files = [write_wav(clip, Path(folder) / f"{n}.wav") for n, clip in enumerate(clips)]

        async def at_once() -> None:
            await asyncio.gather(*(ours.hear(file) for file in files))

        async def one_at_a_time() -> None:
            for file in files:
                await ours.hear(file)

        seconds = {
            "all at once": _warm(lambda: asyncio.run(at_once())),
            "one at a time": _warm(lambda: asyncio.run(one_at_a_time())),
            "the model's calls alone": _warm(lambda: bare(station, mels)),
        }
    return [
        {
            "clients": len(clips),
            "windows": len(mels),
            "way": way,
            "seconds": taken,
            "all at once is faster by": taken / seconds["all at once"],
        }
        for way, taken in seconds.items()
    ]


def bare(station: Station, mels: Sequence[Mel]) -> None:
    """The calls that the engine makes for windows cut by the VAD, with nothing between them."""
    engine, vocabulary = station.engine, station.vocabulary
    timestamps = engine.device != "cuda"  # as `make_plan` has it for such windows

    def run(group: Sequence[Mel]) -> None:
        encoded, _ = engine.encode(group, [None] * len(group))
        heard = [ranking[0][0][2:-2] for ranking in engine.detect_language(encoded)]
        prompts = [
            vocabulary.prompt(language=language, task="transcribe", timestamps=timestamps)
            for language in heard
        ]
        results = engine.generate(
            encoded,
            prompts,
            beam_size=5,
            max_length=448,
            return_scores=True,
            return_no_speech_prob=True,
        )
        for language in set(heard):
            members = [n for n, other in enumerate(heard) if other == language]
            start = vocabulary.start(language, "transcribe")
            texts = [
                [token for token in results[n].sequences_ids[0] if token < vocabulary.eot]
                for n in members
            ]
            engine.align(encoded, members, start, texts, [FULL_FRAMES] * len(members))

    with ThreadPoolExecutor(engine.workers) as pool:
        list(pool.map(run, _groups(mels, engine.max_batch_size)))


def _groups(mels: Sequence[Mel], size: int) -> Iterator[Sequence[Mel]]:
    return (mels[at : at + size] for at in range(0, len(mels), size))


def _warm(call: Callable[[], object]) -> float:
    """Seconds of the second time."""
    call()
    began = time.monotonic()
    call()
    return time.monotonic() - began


def _clips(count: int) -> list[np.ndarray]:
    """Stretches of 30 s of the long recording, each from another place."""
    samples = loaded()
    begins = np.linspace(0, len(samples) - SECONDS * SAMPLE_RATE, count).astype(int)
    return [samples[at : at + SECONDS * SAMPLE_RATE] for at in begins]


def _windows(clip: np.ndarray, mels: int) -> list[Mel]:
    options = vad_options(VadParameters())
    return [log_mel(window.samples, mels) for window in cut_windows([clip], options)]


if __name__ == "__main__":
    main()
