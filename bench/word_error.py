"""Word error on every file of tests/data against faster-whisper's two pipelines, in one run.

    PYTHONPATH=whisper-service python bench/word_error.py [--model DIRECTORY] [--data DIRECTORY] [--words] [FILES]

The goal is that ours is at most theirs on every file. Also prints the median error of the start of the
first word of each sentence (`--words`). Beam 5, float32, language detected.
"""

import argparse
import asyncio
import json
import re
import statistics
from collections.abc import Callable
from pathlib import Path

from app.audio import Cage
from app.decoding.station import Station
from app.models import Models
from app.settings import Settings
from app.transcribe import Transcriber
from app.uploads import Upload
from app.wire import Options, collect
from faster_whisper import BatchedInferencePipeline, WhisperModel
from report import Row, report

ROOT = Path(__file__).parent.parent
DATA = ROOT / "tests" / "data"

Heard = tuple[str, list[tuple[str, float]]]


def words(text: str) -> list[str]:
    """Words as the word error counts them."""
    return re.sub(r"[^\w' ]", " ", text.lower()).split()


def word_errors(truth: list[str], heard: list[str]) -> int:
    """Least number of insertions, deletions and substitutions."""
    row = list(range(len(heard) + 1))
    for i, expected in enumerate(truth, 1):
        previous, row[0] = row[0], i
        for j, word in enumerate(heard, 1):
            cost = previous + (expected != word)
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, cost)
    return row[-1]


def start_errors(sentences: list[dict[str, object]], heard: list[tuple[str, float]]) -> list[float]:
    """Distance of each sentence's first word to the same word heard nearest to it, if within 1.5 s."""
    errors = []
    for sentence in sentences:
        first, start = words(str(sentence["text"]))[0], float(str(sentence["start"]))
        near = [abs(at - start) for word, at in heard if words(word) == [first]]
        if near and min(near) < 1.5:
            errors.append(min(near))
    return errors


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "whisper-service/models/micro")
    parser.add_argument("--data", type=Path, default=DATA, help="files, and truth.json")
    parser.add_argument("--words", action="store_true")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    settings = Settings(
        whisper_models=["bench"],
        whisper_aliases={"bench": str(args.model)},
        whisper_device="cpu",
        whisper_compute_type="float32",
    )
    models = Models(settings, lambda name, directory: Station(name, directory, settings))
    models.load_all()
    cage = Cage()
    transcriber = Transcriber(settings, models, cage)
    bare = WhisperModel(str(args.model), device="cpu", compute_type="float32", cpu_threads=2)
    batched = BatchedInferencePipeline(bare)

    def ours(file: Path, **options: object) -> Heard:
        upload = Upload(file.open("rb"), 0, Options(word_timestamps=args.words, **options))
        answer = asyncio.run(collect(transcriber.transcribe("bench", upload, file.name)))
        return answer.text, [(w.word, w.start) for s in answer.segments for w in s.words or []]

    def theirs(transcribe: Callable[..., object], file: Path, **options: object) -> Heard:
        segments, _ = transcribe(str(file), word_timestamps=args.words, **options)  # type: ignore[misc]
        heard = list(segments)
        text = " ".join(segment.text.strip() for segment in heard)
        return text, [(w.word, w.start) for s in heard for w in s.words or []]

    systems: dict[str, Callable[[Path], Heard]] = {
        "ours": lambda file: ours(file),
        "ours, text alone": lambda file: ours(file, without_timestamps=True),
        "ours, no VAD": lambda file: ours(file, vad_filter=False),
        "WhisperModel": lambda file: theirs(bare.transcribe, file),
        "WhisperModel, VAD": lambda file: theirs(bare.transcribe, file, vad_filter=True),
        "batched": lambda file: theirs(batched.transcribe, file),
    }
    rows: list[Row] = []
    starts: dict[str, list[float]] = {name: [] for name in systems}
    for item in json.loads((args.data / "truth.json").read_text()):
        if args.files and item["file"] not in args.files:
            continue
        if not (args.data / item["file"]).is_file():
            continue  # the truth tells of more files than lie here
        truth = words(" ".join(sentence["text"] for sentence in item["sentences"]))
        row: dict[str, str | float | int] = {"file": item["file"], "words": len(truth)}
        for name, system in systems.items():
            text, said = system(args.data / item["file"])
            row[name] = word_errors(truth, words(text))
            starts[name] += start_errors(item["sentences"], said)
        best = min(int(row[name]) for name in systems if not name.startswith("ours"))
        row["ours is"] = "worse" if int(row["ours"]) > best else "as good or better"
        rows.append(row)
        print(*row.values(), flush=True)
    numbers = [key for key in rows[0] if key not in ("file", "ours is")]
    rows.append(
        {
            "file": "all",
            **{key: sum(int(row[key]) for row in rows) for key in numbers},
            "ours is": "",
        }
    )
    report("word_error", rows, "words wrong, in float32 with beam 5")
    if args.words:
        medians = [
            {
                "system": name,
                "sentences": len(errors),
                "median ms": 1000 * statistics.median(errors),
            }
            for name, errors in starts.items()
        ]
        report("first_words", medians, "error of the start of a sentence's first word")
    models.close()
    cage.close()


if __name__ == "__main__":
    main()
