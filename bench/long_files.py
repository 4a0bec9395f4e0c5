"""Long recordings for benchmarks: a sample file of the tests, repeated, in any container."""

from pathlib import Path

import av
import numpy as np
from app.audio import SAMPLE_RATE, AudioReader
from report import ROOT

FORMATS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "mp3", "m4a": "aac"}
SPEECH = ROOT / "tests" / "data" / "long" / "en-90s.flac"


def loaded(path: Path = SPEECH) -> np.ndarray:
    """Return a whole file's samples (float32, mono, 16 kHz)."""
    with path.open("rb") as file, AudioReader(file, max_seconds=float("inf")) as reader:
        return np.concatenate(list(reader.blocks()))


def write_repeated(samples: np.ndarray, seconds: float, path: Path) -> int:
    """Write `samples` over and over to `path` until `seconds` are full; return the samples written."""
    codec = FORMATS[path.suffix[1:]]
    rounds = max(1, round(seconds * SAMPLE_RATE / len(samples)))
    whole = (samples * 32767).round().astype(np.int16)
    container = {"m4a": "ipod"}.get(path.suffix[1:], path.suffix[1:])
    with av.open(str(path), "w", format=container) as output:
        stream = output.add_stream(codec, rate=SAMPLE_RATE, layout="mono")
        for number in range(rounds):
            frame = av.AudioFrame.from_ndarray(whole[None, :], "s16", "mono")
            frame.sample_rate = SAMPLE_RATE
            frame.pts = number * len(whole)
            for packet in stream.encode(frame):
                output.mux(packet)
        for packet in stream.encode(None):
            output.mux(packet)
    return rounds * len(whole)
