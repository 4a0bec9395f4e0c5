"""One Whisper model on one device: load it, prove it, and run single calls of CTranslate2 on it.

The engine knows tensors and threads, not requests: batches are made by the scheduler, and what a batch
means is `decoding`'s. All calls come from inference threads and release the GIL.

On a CPU each window is encoded alone, since encoding gains nothing from a batch there, and the outputs
are put together for decoding, which does; what was encoded is kept for the next temperature. On CUDA
the encoder's outputs cannot be put together or taken apart without copying through the host, so
windows are stacked before they are encoded, as one batch.
"""

import logging
import math
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import ctranslate2
import numpy as np

from .machine import (
    keep_freed_memory,
    share_threads,
    smaller_type,
    usable_cpus,
    usable_devices,
    usable_memory,
)
from .mel import FULL_FRAMES, Mel
from .model_config import with_own_config
from .settings import Settings
from .shape import read_shape

log = logging.getLogger(__name__)

LEAST_FRAMES = 100
"""Of a window that is encoded for nothing but the call."""
LEAST_ALIGNED_FRAMES = 2
"""CTranslate2 finds no path at all in less: alignment is in frames of 20 ms."""
UNLOAD_WAIT_SECONDS = 0.01
NO_MEMORY = ("out of memory", "cublas_status_alloc_failed", "invalid device ordinal")
"""What CTranslate2 says when the device's memory is full, in its own words, in cuBLAS', and in those of the error that a
failed allocation leaves for its thread's next call (see `_take_up_error`, which may run on another thread)."""
CPU_BATCH, CPU_BATCH_ONE_THREAD = 4, 2
"""More windows together gain nothing, and a short clip waits for them (bench/cpu_batches.py)."""
CUDA_BATCH = 16
CUDA_BATCH_LARGE = 8
"""For decoders of more than LARGE_DECODER layers, whose caches take 0.25 GB for each window."""
LARGE_DECODER = 24
MEMORY_SHARE = 0.25
"""Of a CPU's memory, for the windows of a model's batches; beside them there are weights, uploads and other models."""
BUSY_MODELS = 2
"""So many are expected to be at work at once, or half of those that are served."""


class EngineError(Exception):
    """The model cannot be put on the device; the message is one sentence for operators."""


class OutOfMemory(Exception):
    """The device has no room for this batch; a smaller one may do."""


class Engine:
    """A warm model."""

    def __init__(self, name: str, directory: Path, settings: Settings) -> None:
        """Load from `directory` and warm up; raises EngineError."""
        keep_freed_memory()
        self.name = name
        self.shape = read_shape(directory / "model.bin")
        self._stand_in = with_own_config(name, directory, self.shape)
        self.directory = Path(self._stand_in.name) if self._stand_in else directory
        self._whisper: Any = None
        self._load(settings)

    def _load(self, settings: Settings) -> None:
        """Load onto the best device that runs it, in the best type there."""
        candidates = usable_devices(settings)
        while True:
            device, kind = candidates.pop(0)
            try:
                self._load_onto(device, kind, settings)
                return
            except (RuntimeError, ValueError, OutOfMemory, MemoryError) as exc:
                self._whisper = None  # the next one may need its memory
                if _is_full(exc):
                    # No reason for a slow service: who wants that says `cpu`.
                    types = [kind, *(other for place, other in candidates if place == device)]
                    smaller = [smaller_type(device, other) for other in types]
                    is_chosen = settings.whisper_compute_type is not None
                    candidates = [(device, s) for s in smaller if s is not None and not is_chosen]
                if not candidates:
                    raise EngineError(f"'{self.name}' could not be loaded: {exc}") from exc
                text = "%s does not run on %s in %s (%s); trying %s in %s"
                log.warning(text, self.name, device, kind, exc, *candidates[0])

    def _load_onto(self, device: str, kind: str, settings: Settings) -> None:
        """Load in one compute type, and run every call once."""
        on_cpu = device == "cpu"
        self.device = device
        self.workers, threads = share_threads(
            usable_cpus() if on_cpu else 1,
            workers=settings.whisper_workers or (0 if on_cpu else 1),
            threads=settings.whisper_cpu_threads,
        )
        self._whisper = ctranslate2.models.Whisper(
            str(self.directory),
            device=device,
            compute_type=kind,
            inter_threads=self.workers,
            intra_threads=threads,
        )
        self.multilingual: bool = self._whisper.is_multilingual
        self.mels: int = self._whisper.n_mels
        self.max_batch_size = settings.whisper_max_batch_size or self._usual_batch_size(
            threads, models=len(settings.whisper_models)
        )
        self.warm_up_seconds = self._warm_up()
        log.info(
            "%s runs on %s in %s, %d x %d threads, at most %d windows in a batch",
            *(self.name, device, self._whisper.compute_type, self.workers, threads),
            self.max_batch_size,
        )

    def _usual_batch_size(self, threads: int, models: int) -> int:
        if self.device == "cpu":
            most = CPU_BATCH if threads > 1 else CPU_BATCH_ONE_THREAD
            if self.shape is None:
                return most
            memory = MEMORY_SHARE * usable_memory() / max(1.0, models / BUSY_MODELS)
            fitting = memory / (self.workers * self.shape.window_bytes)
            return max(1, int(min(most, fitting)))
        is_large = self.shape is not None and self.shape.decoder_layers > LARGE_DECODER
        return CUDA_BATCH_LARGE if is_large else CUDA_BATCH

    def _warm_up(self, clock: Callable[[], float] = time.monotonic) -> float:
        """Run every call on silence, and return the seconds that a warm pass takes.

        A missing cuBLAS, for one, appears first here; on CUDA the first pass compiles. It goes through all
        workers at once, on a CPU with a full batch, so that they have before the first request most of what
        they need, and memory grows little with the load.
        """
        windows = self.max_batch_size if self.device == "cpu" else 1
        with ThreadPoolExecutor(self.workers) as pool:
            list(pool.map(lambda _: self.silent_pass(windows), range(self.workers)))
        began = clock()
        self.silent_pass()
        return clock() - began

    def silent_pass(self, windows: int = 1) -> None:
        """Run every call once, on so many windows of silence; raises what the device raises."""
        silence = np.zeros((self.mels, FULL_FRAMES), np.float32)
        # Start, English, transcribe; of large-v3 the last is `translate`, which is as good here.
        start = [50258, 50259, 50359] if self.multilingual else [50257]
        view, [known] = self.encode([silence], [None])
        if self.multilingual:
            self.detect_language(view)
        if windows > 1:
            view, _ = self.encode([silence] * windows, [known] * windows)
        most = len(start) + 8
        options = {"beam_size": 5, "max_length": most, "return_scores": True}
        result, *_ = self.generate(view, [start] * windows, **options)
        if math.isnan(result.scores[0]):  # as some devices answer in float16
            raise RuntimeError("its numbers overflow")
        self.align(view, [0], start, [[*result.sequences_ids[0], 11][:1]], [FULL_FRAMES])

    def prove(self) -> None:
        """Raise what the device raises when it computes nothing any more; a lack of memory passes."""
        with suppress(OutOfMemory):
            self.silent_pass()

    # --- single calls ---------------------------------------------------------------------------

    def encode(
        self, mels: Sequence[Mel], known: Sequence[Any | None]
    ) -> tuple[Any, list[Any | None]]:
        """Encode windows of equal length; `known` are outputs of earlier calls where there are any.

        Returns the output of all together, shape (windows, frames / 2, features), and of each alone
        where it can be used again.
        """
        with self._translated():
            if self.device != "cpu":
                if len(mels) == 1:
                    one = known[0] if known[0] is not None else self._encode(np.stack(mels))
                    return one, [one]
                return self._encode(np.stack(mels)), [None] * len(mels)
            each = [
                output if output is not None else self._encode(mel[np.newaxis])
                for mel, output in zip(mels, known, strict=True)
            ]
        return _together(each), each

    def _encode(self, mels: Mel) -> Any:
        return self._whisper.encode(_view(mels))

    def generate(self, encoded: Any, prompts: list[list[int]], **options: Any) -> list[Any]:
        """Decode; `options` are those of `ctranslate2.models.Whisper.generate`."""
        with self._translated():
            return list(self._whisper.generate(encoded, prompts, **options))

    def detect_language(self, encoded: Any) -> list[list[tuple[str, float]]]:
        """Languages of each window as ("<|en|>", probability), likeliest first."""
        with self._translated():
            return list(self._whisper.detect_language(encoded))

    def align(
        self,
        encoded: Any,
        members: list[int],
        start: list[int],
        texts: list[list[int]],
        frames: list[int],
    ) -> list[Any]:
        """Find where the tokens of `texts` are said in the windows `members` of the batch."""
        windows = encoded.shape[0]
        if len(members) < windows and self.device == "cpu":
            encoded = _view(np.asarray(encoded)[members])
            members, windows = list(range(len(members))), len(members)
        # Rows cannot be taken from a device: there the others are given nothing to align.
        asked = dict(zip(members, zip(texts, frames, strict=True), strict=True))
        rows = [asked.get(n, ([], LEAST_ALIGNED_FRAMES)) for n in range(windows)]
        texts = [text for text, _ in rows]
        frames = _unequal([size for _, size in rows], texts)
        with self._translated():
            results = self._whisper.align(encoded, start, texts, frames)
        return [results[n] for n in members]

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (RuntimeError, MemoryError) as exc:
            if not _is_full(exc):
                raise
            if self.device != "cpu":
                self._take_up_error()
            raise OutOfMemory(str(exc)) from exc

    def _take_up_error(self) -> None:
        """Make a call that may fail in place of the next one.

        CTranslate2 leaves the error of an allocation with CUDA, where the thread's next call finds it and fails
        for it ("invalid device ordinal"), whatever fits.
        """
        with suppress(RuntimeError):
            self._encode(np.zeros((1, self.mels, LEAST_FRAMES), np.float32))

    # --- the end --------------------------------------------------------------------------------

    def close(self) -> None:
        """Give the model's memory back. The caller sees to it that no call is running.

        CTranslate2 does nothing, and says nothing, while a finished job is still being cleaned up: so it is asked until
        it has unloaded.
        """
        waiting = threading.Event()
        while self._whisper.model_is_loaded:
            self._whisper.unload_model()
            waiting.wait(UNLOAD_WAIT_SECONDS)
        if self._stand_in is not None:
            self._stand_in.cleanup()


def _is_full(error: Exception) -> bool:
    """Whether an error says that the device's memory is full."""
    told = any(word in str(error).lower() for word in NO_MEMORY)
    return told or isinstance(error, OutOfMemory | MemoryError)


def _view(array: Mel) -> Any:
    return ctranslate2.StorageView.from_array(np.ascontiguousarray(array, np.float32))


def _unequal(frames: list[int], texts: list[list[int]]) -> list[int]:
    """Make the window of the longest text 20 ms shorter where all are equally long, and their texts are not.

    Only where windows differ does CTranslate2 (`WhisperReplica::align`) leave the padding of shorter texts
    out; else the times of their words depend on the texts beside them.
    """
    longest = max(range(len(texts)), key=lambda n: len(texts[n]))
    padded = any(len(text) < len(texts[longest]) for text in texts)
    if not padded or len({size // 2 for size in frames}) > 1:
        return frames
    other = frames[longest] + (-2 if frames[longest] >= 2 * LEAST_ALIGNED_FRAMES else 2)
    return [other if n == longest else size for n, size in enumerate(frames)]


def _together(outputs: list[Any]) -> Any:
    if len(outputs) == 1:
        return outputs[0]
    return _view(np.concatenate([np.asarray(output) for output in outputs]))
