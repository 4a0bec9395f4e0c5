"""What gateway and worker add to the bare model: one request against `WhisperModel.transcribe`.

    OMP_WAIT_POLICY=PASSIVE PYTHONPATH=tests python bench/overhead.py [--pairs 15]

Both read the same file from disk with the same options, threads, way of waiting and number of computing
processes (one). They take turns, in an order that changes, so that whatever else the machine does meets both; the
result is the median of the ratios of such pairs.
"""

import argparse
import os
import tempfile
import time
import wave
from difflib import SequenceMatcher
from pathlib import Path
from statistics import median

import requests
from faster_whisper import WhisperModel, decode_audio
from house import DATA, ROOT
from processes import gateway_settings, service, worker_settings
from report import report

KEY = "bench"
RATE = 16_000
SAME = 0.8
"""Share of common words above which two texts are the same work: windows are cut differently."""
LADDER = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    pairs = parser.parse_args().pairs
    threads = len(os.sched_getaffinity(0))
    model = WhisperModel(
        str(ROOT / "whisper-service" / "models" / "micro"), "cpu", compute_type="int8",
        cpu_threads=threads,
    )  # fmt: skip
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        settings = worker_settings(WHISPER_DEVICE="cpu", WHISPER_CPU_THREADS=threads)
        with (
            service("worker", folder / "worker.log", **settings) as worker,
            service(
                "gateway", folder / "gateway.log", **gateway_settings(worker, API_KEY=KEY)
            ) as gateway,
            requests.Session() as session,
        ):
            rows = [
                measure(model, session, gateway.url, file, pairs)
                for file in (DATA / "short" / "en-3.wav", thirty_seconds(folder))
            ]
    report("overhead", rows, f"micro, {threads} threads, {pairs} pairs; seconds are medians")


def thirty_seconds(folder: Path) -> Path:
    """Write the first 30 s of the long sample as a file of its own."""
    samples = decode_audio(str(DATA / "long" / "en-90s.flac"))[: 30 * RATE]
    path = folder / "en-30s.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).round().astype("<i2").tobytes())
    return path


def measure(
    model: WhisperModel, session: requests.Session, url: str, file: Path, pairs: int
) -> dict[str, str | float]:
    """Time both ways `pairs` times, after one round that does not count."""
    bare, served = [], []
    for number in range(pairs + 1):
        turns = [
            (bare, lambda: directly(model, file)),
            (served, lambda: by_http(session, url, file)),
        ]
        texts = []
        for seconds, run in turns if number % 2 else reversed(turns):
            began = time.perf_counter()
            texts.append(run())
            seconds.append(time.perf_counter() - began)
        if SequenceMatcher(None, *(text.split() for text in texts)).ratio() < SAME:
            raise SystemExit(f"{file.name}: the two do not say the same: {texts}")
    ratios = sorted(s / b for s, b in zip(served[1:], bare[1:], strict=True))
    return {
        "file": file.name,
        "bare s": median(bare[1:]),
        "served s": median(served[1:]),
        "ratio": f"{median(ratios):.3f}",
        "quartiles": f"{ratios[len(ratios) // 4]:.3f} to {ratios[-1 - len(ratios) // 4]:.3f}",
    }


def directly(model: WhisperModel, file: Path) -> str:
    """Transcribe in this process, with the options that the worker takes by default."""
    segments, _ = model.transcribe(
        str(file),
        beam_size=5,
        vad_filter=True,
        temperature=LADDER,
        condition_on_previous_text=False,
    )
    return " ".join(segment.text.strip() for segment in segments)


def by_http(session: requests.Session, url: str, file: Path) -> str:
    """Transcribe through gateway and worker."""
    with file.open("rb") as audio:
        answer = session.post(
            f"{url}/transcribe/micro",
            headers={"Authorization": f"Bearer {KEY}"},
            files={"file": audio},
        )
    answer.raise_for_status()
    text: str = answer.json()["text"]
    return text


if __name__ == "__main__":
    main()
