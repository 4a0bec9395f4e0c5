"""faster-whisper in a process of its own, as its users have it.

In ours it would gain from what the worker does for itself: with glibc told to keep freed memory, its encoder
is faster by a third.
"""

import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, Self

from faster_whisper import BatchedInferencePipeline, WhisperModel


class Peer:
    """One `WhisperModel`, which waits in its process until it is asked."""

    def __init__(self, model: Path, **options: Any) -> None:
        """Load it; `options` are those of `WhisperModel`."""
        self._process = ProcessPoolExecutor(
            1, get_context("spawn"), initializer=_load, initargs=(model, options)
        )

    def ends(self, files: list[Path], *, at_once: int, **options: Any) -> list[float]:
        """When each file is transcribed, in seconds from when all came; `at_once` at a time."""
        return self._process.submit(_ends, files, at_once, options).result()

    def seconds(self, file: Path, **options: Any) -> float:
        """How long one file takes; with `batch_size` in `options`, through the batched pipeline."""
        return self.ends([file], at_once=1, **options)[0]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """End the process."""
        self._process.shutdown()


_model: WhisperModel
"""Of this process."""


def _load(model: Path, options: dict[str, Any]) -> None:
    global _model
    _model = WhisperModel(str(model), **options)


def _ends(files: list[Path], at_once: int, options: dict[str, Any]) -> list[float]:
    pipeline = BatchedInferencePipeline(_model) if "batch_size" in options else _model
    began = time.monotonic()

    def transcribe(file: Path) -> float:
        list(pipeline.transcribe(str(file), **options)[0])
        return time.monotonic() - began

    with ThreadPoolExecutor(at_once) as pool:
        return list(pool.map(transcribe, files))
