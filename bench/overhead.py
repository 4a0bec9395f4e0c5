"""What gateway and worker add to the bare model: one request against `WhisperModel.transcribe`.

    OMP_WAIT_POLICY=PASSIVE PYTHONPATH=tests:whisper-service python bench/overhead.py [--pairs 15] [--model DIRECTORY]

All read the same file from disk with the same options and way of waiting; the bare model has all processors
for its window, the worker shares them out as it does by default. They take turns, in an order that changes, so that
whatever else the machine does meets all; the result is the median of the ratios of such rounds.
"""

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from difflib import SequenceMatcher
from pathlib import Path
from statistics import median

import requests
from app.machine import usable_cpus
from faster_whisper import WhisperModel, decode_audio
from house import DATA, ROOT
from processes import both_services
from report import Row, report
from wav import SAMPLE_RATE, write_wav

KEY = "bench"
SAME = 0.8
"""Share of common words above which two texts are the same work: windows are cut differently."""
LADDER = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument("--model", type=Path, default=ROOT / "whisper-service/models/micro")
    args = parser.parse_args()
    threads = usable_cpus()
    model = WhisperModel(str(args.model), "cpu", compute_type="int8", cpu_threads=threads)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        aliases = json.dumps({"micro": str(args.model)})
        services = both_services(KEY, WHISPER_DEVICE="cpu", WHISPER_ALIASES=aliases)
        with services as (worker, gateway), requests.Session() as session:
            rows = [
                row
                for file in (DATA / "short" / "en-3.wav", thirty_seconds(folder))
                for row in measure(model, session, (worker.url, gateway.url), file, args.pairs)
            ]
    remarks = f"{args.model.name}, {threads} threads, {args.pairs} rounds; seconds are medians"
    report(f"overhead_{args.model.name}", rows, remarks)


def thirty_seconds(folder: Path) -> Path:
    """Write the first 30 s of a long sample as a file of its own: one in which micro guesses little."""
    samples = decode_audio(str(DATA / "long" / "de-90s.flac"))[: 30 * SAMPLE_RATE]
    return write_wav(samples, folder / "de-30s.wav")


def measure(
    model: WhisperModel, session: requests.Session, urls: tuple[str, str], file: Path, rounds: int
) -> list[Row]:
    """Time all three ways `rounds` times, after one round that does not count."""
    ways: dict[str, Callable[[], str]] = {
        "bare": lambda: directly(model, file),
        "worker": lambda: by_http(session, urls[0], file),
        "gateway": lambda: by_http(session, urls[1], file),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        texts = {}
        names = list(ways)[number % 3 :] + list(ways)[: number % 3]
        for name in names:
            began = time.perf_counter()
            texts[name] = ways[name]()
            times[name].append(time.perf_counter() - began)
        for name in ("worker", "gateway"):
            alike = SequenceMatcher(None, texts["bare"].split(), texts[name].split()).ratio()
            if alike < SAME:
                raise SystemExit(f"{file.name}: the two do not say the same: {texts}")
    rows: list[Row] = []
    for name, seconds in times.items():
        ratios = sorted(s / b for s, b in zip(seconds[1:], times["bare"][1:], strict=True))
        quartiles = ratios[len(ratios) // 4], ratios[-1 - len(ratios) // 4]
        rows.append(
            {
                "file": file.name,
                "way": name,
                "seconds": median(seconds[1:]),
                "to the bare model": f"{median(ratios):.3f}",
                "quartiles": f"{quartiles[0]:.3f} to {quartiles[1]:.3f}",
            }
        )
    return rows


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
