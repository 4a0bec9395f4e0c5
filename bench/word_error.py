"""Word error on every file of tests/data against faster-whisper's two pipelines, in one run.

    PYTHONPATH=whisper-service:. python bench/word_error.py [--model DIRECTORY] [--data DIRECTORY] [--words] [FILES]

The goal is that ours is at most theirs on every file. Also prints the median error of the start of the
first word of each sentence (`--words`). Beam 5, float32, language detected.
"""

import argparse
import asyncio
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from faster_whisper import BatchedInferencePipeline, WhisperModel
from ours import Ours
from report import ROOT, Row, report

from tools.micro_model.measures import normalized, word_errors

DATA = ROOT / "tests" / "data"

Heard = tuple[str, list[tuple[str, float]]]
"""A text, and its words with their starts in seconds."""
System = Callable[[Path], Heard]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=ROOT / "whisper-service/models/micro")
    parser.add_argument("--data", type=Path, default=DATA, help="files, and truth.json")
    parser.add_argument("--words", action="store_true")
    parser.add_argument("files", nargs="*")
    args = parser.parse_args()
    ours = Ours(args.model, compute_type="float32")
    systems = compared(ours, args.model, words=args.words)
    rows: list[Row] = []
    starts: dict[str, list[float]] = defaultdict(list)
    for item in known(args.data, args.files):
        truth = " ".join(sentence["text"] for sentence in item["sentences"])
        row: dict[str, str | float | int] = {"file": item["file"], "words": len(normalized(truth))}
        for name, system in systems.items():
            text, said = system(args.data / item["file"])
            row[name], _ = word_errors(truth, text)
            starts[name] += start_errors(item["sentences"], said)
        best = min(int(row[name]) for name in systems if not name.startswith("ours"))
        row["ours is"] = "worse" if int(row["ours"]) > best else "as good or better"
        rows.append(row)
        print(*row.values(), flush=True)
    counted = [name for name in rows[0] if name not in ("file", "ours is")]
    sums = {name: sum(int(row[name]) for row in rows) for name in counted}
    rows.append({"file": "all", **sums, "ours is": ""})
    report("word_error", rows, "words wrong, in float32 with beam 5")
    if args.words:
        medians: list[Row] = [
            {
                "system": name,
                "sentences": len(errors),
                "median ms": 1000 * statistics.median(errors),
            }
            for name, errors in starts.items()
        ]
        report("first_words", medians, "error of the start of a sentence's first word")
    ours.close()


def compared(ours: Ours, model: Path, *, words: bool) -> dict[str, System]:
    """Our strategies and faster-whisper's two pipelines, on the same weights."""
    bare = WhisperModel(str(model), device="cpu", compute_type="float32", cpu_threads=2)
    batched = BatchedInferencePipeline(bare)

    def hear(file: Path, **options: Any) -> Heard:
        heard = asyncio.run(ours.hear(file, word_timestamps=words, **options))
        return "".join(heard.texts), [(word.word, word.start) for word in heard.words]

    def theirs(transcribe: Callable[..., Any], file: Path, **options: Any) -> Heard:
        segments = list(transcribe(str(file), word_timestamps=words, **options)[0])
        text = " ".join(segment.text.strip() for segment in segments)
        return text, [(word.word, word.start) for s in segments for word in s.words or []]

    return {
        "ours": hear,
        "ours, text alone": lambda file: hear(file, without_timestamps=True),
        "ours, no VAD": lambda file: hear(file, vad_filter=False),
        "WhisperModel": lambda file: theirs(bare.transcribe, file),
        "WhisperModel, VAD": lambda file: theirs(bare.transcribe, file, vad_filter=True),
        "batched": lambda file: theirs(batched.transcribe, file),
    }


def known(data: Path, wanted: list[str]) -> Iterator[dict[str, Any]]:
    """What is said in each file, or in those that are wanted; the truth tells of more than lie there."""
    for item in json.loads((data / "truth.json").read_text()):
        if (not wanted or item["file"] in wanted) and (data / item["file"]).is_file():
            yield item


def start_errors(sentences: list[dict[str, Any]], heard: list[tuple[str, float]]) -> list[float]:
    """Distance of each sentence's first word to the same word heard nearest to it, if within 1.5 s."""
    errors = []
    for sentence in sentences:
        first = normalized(sentence["text"])[:1]
        near = [abs(at - sentence["start"]) for word, at in heard if normalized(word) == first]
        if near and min(near) < 1.5:
            errors.append(min(near))
    return errors


if __name__ == "__main__":
    main()
