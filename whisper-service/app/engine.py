"""One Whisper model on one device: load it, prove it with a warm-up, transcribe with it, let it go."""

import ctypes
import importlib.util
import logging
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import ctranslate2
import numpy as np
from faster_whisper import WhisperModel
from faster_whisper.transcribe import Segment, TranscriptionInfo
from faster_whisper.vad import get_speech_timestamps

from .languages import LANGUAGES
from .settings import Settings
from .wire import ModelInfo, Options

log = logging.getLogger(__name__)

SAMPLE_RATE = 16_000
WhisperSegment = Segment


class EngineError(Exception):
    """The model cannot be put on the device; the message is one sentence for operators."""


def resolve_device(settings: Settings) -> tuple[str, str]:
    """Return the device and compute type to use.

    Raises ValueError, naming the supported types, for a compute type that the device does not have.
    """
    device = settings.whisper_device
    if device != "cpu":
        _preload_cublas()
    if device == "auto":
        device = "cuda" if ctranslate2.get_cuda_device_count() > 0 else "cpu"
    elif device == "cuda" and ctranslate2.get_cuda_device_count() == 0:
        raise ValueError("WHISPER_DEVICE is cuda, but no CUDA device can be used")
    supported = ctranslate2.get_supported_compute_types(device)
    wanted = settings.whisper_compute_type
    if wanted is not None and wanted not in supported:
        raise ValueError(
            f"WHISPER_COMPUTE_TYPE {wanted} is not supported on {device}; "
            f"supported: {', '.join(sorted(supported))}"
        )
    best = ("float16", "float32") if device == "cuda" else ("int8", "float32")
    return device, wanted or next(kind for kind in best if kind in supported)


def _preload_cublas() -> None:
    """Load cuBLAS from its wheel, which is not on the loader's path, where it is installed."""
    spec = importlib.util.find_spec("nvidia")
    for folder in spec.submodule_search_locations or [] if spec else []:
        for library in ("libcublasLt.so.12", "libcublas.so.12"):
            path = Path(folder) / "cublas" / "lib" / library
            if path.is_file():
                ctypes.CDLL(str(path), mode=ctypes.RTLD_GLOBAL)


def usable_cpus() -> int:
    """Processors that this process may use: the affinity mask, cut by the cgroup's quota."""
    count = len(os.sched_getaffinity(0))
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
    except (OSError, ValueError):
        return count
    return count if quota == "max" else max(1, min(count, int(quota) // int(period)))


def speech_samples(samples: np.ndarray) -> int:
    """How many of these samples are speech."""
    return sum(span["end"] - span["start"] for span in get_speech_timestamps(samples))


class Engine:
    """A warm model. One request computes at a time; the others wait in line."""

    def __init__(self, name: str, directory: Path, settings: Settings) -> None:
        """Load from `directory`; raises EngineError."""
        self._settings = settings
        self._turn = threading.Lock()
        device, compute_type = resolve_device(settings)
        try:
            self._whisper = WhisperModel(
                str(directory),
                device=device,
                compute_type=compute_type,
                cpu_threads=settings.whisper_cpu_threads or usable_cpus(),
                local_files_only=True,
            )
            # Only computing shows that everything is there: a missing cuBLAS appears first here.
            silence = np.zeros(SAMPLE_RATE, np.float32)
            for _ in self._whisper.transcribe(silence, language="en", max_new_tokens=4)[0]:
                pass
        except (RuntimeError, ValueError) as exc:
            raise EngineError(f"'{name}' could not be loaded: {exc}") from exc
        multilingual = self._whisper.model.is_multilingual
        can_translate = multilingual and not any(part in name for part in ("turbo", "distil"))
        self.info = ModelInfo(
            id=name,
            status="ready",
            languages=list(LANGUAGES) if multilingual else ["en"],
            tasks=["transcribe", "translate"] if can_translate else ["transcribe"],
        )
        log.info("%s runs on %s in %s", name, device, compute_type)

    def transcribe(
        self, samples: np.ndarray, options: Options
    ) -> tuple[Iterable[Segment], TranscriptionInfo]:
        """Decode float32 mono 16 kHz samples; segments come as they are decoded, in this thread."""
        settings = self._settings
        vad_filter = (
            settings.whisper_vad_filter if options.vad_filter is None else options.vad_filter
        )
        ladder = [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]
        segments: Iterator[Segment]
        segments, info = self._whisper.transcribe(
            samples,
            language=options.language or settings.whisper_language,
            task=options.task,
            initial_prompt=options.prompt,
            hotwords=(options.hotwords or "").strip() or None,
            temperature=options.temperature or ladder,
            beam_size=options.beam_size or settings.whisper_beam_size,
            vad_filter=vad_filter,
            word_timestamps=options.word_timestamps,
            condition_on_previous_text=not vad_filter,
        )
        return self._in_turn(segments), info

    def _in_turn(self, segments: Iterator[Segment]) -> Iterator[Segment]:
        with self._turn:
            yield from segments

    def close(self) -> None:
        """Give the model's memory back once the request that computes has ended."""
        with self._turn:
            del self._whisper
