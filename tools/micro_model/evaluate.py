"""Measures a model folder with plain faster-whisper (int8, beam 5) and prints a table.

    python -m tools.micro_model.evaluate MODEL --unseen CLIPS [--recordings tests/data] [--sentences 100]

`--unseen` is a folder made by `tools.micro_model.synthesize --unseen`: sentences and voices that the training
did not hear. They are heard one by one, through noise, telephone, MP3, clipping and at low volume, and
in long files. `--recordings` is a folder of files with a `truth.json`.
"""

import argparse
import io
import json
import random
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import numpy as np
from faster_whisper import WhisperModel, decode_audio

from . import sound
from .clips import Clip, load_set
from .grammar import LANGUAGES
from .measures import Tally, normalized, word_starts
from .sound import SAMPLE_RATE, Samples

Spoken = tuple[Clip, Samples]

LEAD = 0.3  # seconds of silence before and after a sentence
LONG_SECONDS = 90
SILENT_SECONDS = 20


class Evaluation:
    """Runs one model over all kinds of sound and keeps a tally of each."""

    def __init__(self, model: Path, threads: int) -> None:
        self.model = WhisperModel(
            str(model), device="cpu", compute_type="int8", cpu_threads=threads
        )
        self.tallies: dict[str, Tally] = defaultdict(Tally)
        self.noise = np.random.default_rng(5)

    def transcribe(self, samples: Samples, language: str | None = None, task: str = "transcribe",
                   *, conditioned: bool = False, words: bool = False) -> tuple[str, list[Any], Any]:  # fmt: skip
        """Return text, segments and info; text that the decoder doubts is kept as it is."""
        segments, info = self.model.transcribe(
            samples, language=language, task=task, beam_size=5, word_timestamps=words,
            condition_on_previous_text=conditioned,
        )  # fmt: skip
        listed = list(segments)
        return "".join(segment.text for segment in listed), listed, info

    def single(self, clips: list[Spoken]) -> None:
        """Sentences alone: word error, language, word times, translation."""
        for clip, spoken in clips:
            text, segments, info = self.transcribe(padded(spoken), words=True)
            tally = self.tallies[f"one sentence, {clip.language}"]
            tally.add(clip.text, text)
            self.tallies[f"one sentence, by {clip.voice.rpartition('+')[2]}"].add(clip.text, text)
            self.tallies["language right"].add(clip.language, info.language)
            written = [word for segment in segments for word in segment.words]
            if normalized(text) == normalized(clip.text) and len(clip.marks) > 2:
                tally.times += _start_errors(clip, written)
            if clip.language != "en":
                english, *_ = self.transcribe(padded(spoken), clip.language, "translate")
                self.tallies["translation"].add(clip.english, english)

    def spoiled(self, clips: list[Spoken]) -> None:
        """The same sentences on bad ways."""
        for clip, spoken in clips:
            clean = padded(spoken)
            power = float((spoken**2).mean())
            noise = self.noise.standard_normal(len(clean), dtype=np.float32)
            ways = {
                "clean": clean,
                "noise at 10 dB": clean + noise * np.float32((power / 10) ** 0.5),
                "telephone, u-law": through(clean, "wav", "pcm_mulaw", 8000),
                "MP3 at 24 kbit/s": through(clean, "mp3", "libmp3lame", 16000, 24000),
                "clipped": np.clip(clean, -0.12, 0.12),
                "very quiet": np.round(clean * 0.01 * 32768).astype(np.float32) / 32768,
            }
            for way, samples in ways.items():
                self.tallies[f"way: {way}"].add(clip.text, self.transcribe(samples)[0])

    def long(self, clips: list[Spoken], rng: random.Random) -> None:
        """Files of many sentences, without and with the text before as a prompt."""
        for language in LANGUAGES:
            pool = [clip for clip in clips if clip[0].language == language]
            parts, texts, size = [], [], 0
            while size < LONG_SECONDS * SAMPLE_RATE:
                clip, spoken = rng.choice(pool)
                pause = np.zeros(int(rng.uniform(0.3, 1.0) * SAMPLE_RATE), np.float32)
                parts += [spoken, pause]
                size += len(spoken) + len(pause)
                texts.append(clip.text)
            for name, conditioned in (("long", False), ("long, conditioned", True)):
                text, *_ = self.transcribe(np.concatenate(parts), conditioned=conditioned)
                self.tallies[f"{name}, {language}"].add(" ".join(texts), text)

    def silent(self, count: int) -> None:
        """Silence, noise and tones: every word is an error of one."""
        size = SILENT_SECONDS * SAMPLE_RATE
        level = np.float32(0.02)
        for _ in range(count):
            for name, samples in (
                ("silence", np.zeros(size, np.float32)),
                ("noise", sound.noise(size, self.noise) * level),
                ("tones", sound.tones(size, self.noise)),
            ):
                text, *_ = self.transcribe(samples)
                self.tallies[f"nothing said: {name}"].add("", text)

    def recordings(self, folder: Path) -> None:
        """Files with a truth.json; the times are those of sentences, begin and end."""
        for truth in json.loads((folder / "truth.json").read_text(encoding="utf-8")):
            kind = truth["file"].split("/")[0]
            if kind not in ("short", "formats", "long", "hard"):
                continue
            samples = decode_audio(str(folder / truth["file"]))
            reference = " ".join(sentence["text"] for sentence in truth["sentences"])
            name = truth["file"] if kind in ("long", "hard") else f"{kind}, {truth['language']}"
            for suffix, conditioned in (("", False), (" conditioned", True)):
                if conditioned and kind not in ("long", "hard"):
                    continue
                text, segments, _ = self.transcribe(samples, conditioned=conditioned)
                tally = self.tallies[f"{name}{suffix}"]
                tally.add(reference, text)
                if kind == "short" and len(segments) == len(truth["sentences"]):
                    for segment, sentence in zip(segments, truth["sentences"], strict=True):
                        tally.times += [
                            abs(segment.start - sentence["start"]),
                            abs(segment.end - sentence["end"]),
                        ]

    def table(self) -> str:
        """Return a Markdown table of all tallies."""
        rows = (f"| {name} | {tally.summary()} |" for name, tally in self.tallies.items())
        return "\n".join(["| sound | word error |", "|---|---|", *rows])


def _start_errors(clip: Clip, written: list[Any]) -> Iterator[float]:
    """Yield how far each word's start is from the voice's own mark, in seconds, where a word comes once.

    Not the first word's: its alignment always begins where the window does (faster-whisper lets it have up to 0.5 s of
    silence), so that LEAD would be its error whatever the weights.
    """
    texts = clip.text.split()
    if len(written) != len(texts):
        return
    for word, start in word_starts(clip):
        if texts.count(word) == 1 and (at := texts.index(word)):
            yield abs(written[at].start - LEAD - start)


def padded(spoken: Samples) -> Samples:
    """Put a little silence before and after."""
    return np.pad(spoken, int(LEAD * SAMPLE_RATE))


def through(samples: Samples, container: str, codec: str, rate: int, bits: int = 0) -> Samples:
    """Encode and decode with libav."""
    file = io.BytesIO()
    with av.open(file, "w", format=container) as output:
        stream = output.add_stream(codec, rate=rate, layout="mono")
        assert isinstance(stream, av.AudioStream)
        if bits:
            stream.bit_rate = bits
        loud = (np.clip(samples, -1, 1) * 32767).astype(np.int16)
        frame = av.AudioFrame.from_ndarray(loud[None], format="s16", layout="mono")
        frame.sample_rate = SAMPLE_RATE
        for packet in [*stream.encode(frame), *stream.encode(None)]:
            output.mux(packet)
    file.seek(0)
    return np.asarray(decode_audio(file))


def main() -> None:
    """Evaluate the model named on the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model", type=Path)
    parser.add_argument("--unseen", type=Path, help="a folder of sets")
    parser.add_argument("--recordings", type=Path, help="a folder with truth.json")
    parser.add_argument("--sentences", type=int, default=100, help="of each language")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    evaluation, rng = Evaluation(arguments.model, arguments.threads), random.Random(1)
    if arguments.unseen:
        sets = [load_set(path) for path in sorted(arguments.unseen.glob("*.npy"))]
        clips: list[Spoken] = [
            (clip, x.astype(np.float32) / 32768) for loaded in sets for clip, x in loaded
        ]
        some = clips[: arguments.sentences * len(LANGUAGES)]
        evaluation.single(some)
        evaluation.spoiled(some[: len(some) // 2])
        evaluation.long(clips, rng)
        evaluation.silent(5)
    if arguments.recordings:
        evaluation.recordings(arguments.recordings)
    print(evaluation.table())


if __name__ == "__main__":
    main()
