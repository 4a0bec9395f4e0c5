"""The worker's settings, all from the environment or `.env`; each docstring is its documentation."""

import os
import re
from pathlib import Path
from typing import Literal

from dotenv import dotenv_values
from pydantic import (
    ByteSize,
    DirectoryPath,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    field_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from .setting_types import LogLevel, Names, Secret, UploadLimit
from .wire import LanguageOrAuto


class Settings(BaseSettings):
    """What the worker can be told. An unknown WHISPER_* name is refused at start."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # the input holds secrets
        use_attribute_docstrings=True,
    )

    service_host: str = "0.0.0.0"
    """Address that the worker listens on."""
    service_port: int = Field(8080, ge=0, le=65535)
    """Port that the worker listens on."""
    worker_token: Secret = SecretStr("")
    """Secret shared with the gateway; when set, requests without it are refused."""
    log_level: LogLevel = "INFO"
    """How much is logged."""
    max_upload_bytes: UploadLimit = ByteSize(1024**3)
    """Largest request body; beyond it 413."""
    max_audio_seconds: PositiveFloat = 4 * 3600
    """Longest audio; beyond it 413."""

    whisper_models: Names = ["small", "medium", "large-v3", "large-v3-turbo"]
    """Models loaded at start, in this order: faster-whisper names, hub ids `org/name[@revision]`, `micro`, aliases."""
    whisper_aliases: dict[str, str] = {
        "large-v3-turbo": "mobiuslabsgmbh/faster-whisper-large-v3-turbo"
    }
    """JSON object: a model's name to the hub id or local directory that it stands for, as an absolute path."""
    whisper_device: Literal["auto", "cpu", "cuda"] = "auto"
    """Where models run; auto takes CUDA where it works."""
    whisper_compute_type: str | None = None
    """int8, float16, int8_float16, float32 ...; unset takes the device's best: int8 on a CPU, float16 on CUDA (int8_float16 where memory is short)."""
    whisper_beam_size: int = Field(5, ge=1, le=20)
    """Beam size of requests that name none."""
    whisper_vad_filter: bool = True
    """Skip what is not speech, unless a request says otherwise."""
    whisper_language: LanguageOrAuto | None = None
    """Language of requests that name none; detected where unset, or where the model does not know it."""
    whisper_cpu_threads: NonNegativeInt = 0
    """Threads that compute one batch on a CPU; 0 shares out what the container may use."""
    whisper_workers: NonNegativeInt = 0
    """Batches computed at the same time; 0 chooses, and the log says what ("2 x 4 threads")."""
    whisper_max_batch_size: NonNegativeInt = 0
    """Windows decoded together at most; 0 takes what suits device, model and memory (at most 4 on a CPU, 8 or 16 on CUDA)."""
    whisper_adaptive_window: bool = False
    """Encode short clips at their own length instead of 30 s: much faster, with a risk of worse text."""
    whisper_offline: bool = False
    """Never ask the hub: models come from the cache or a directory."""
    whisper_cache_dir: Path | None = None
    """Where downloaded models are kept; unset is the hub's own default (HF_HOME)."""
    whisper_temp_dir: DirectoryPath | None = None
    """Folder in which uploads wait while they are transcribed; unset is the system's."""
    whisper_max_queue: PositiveInt = 64
    """Requests that may wait while none of their windows runs; one more gets 503."""
    whisper_max_queue_seconds: PositiveFloat = 24 * 3600
    """Seconds of audio that may wait; a request beyond it gets 503, unless nothing waits."""

    @field_validator("whisper_models")
    @classmethod
    def _some(cls, value: list[str]) -> list[str]:
        if not value:
            raise ValueError("at least one model is needed")
        different = list(dict.fromkeys(value))
        served = [name.partition("@")[0] for name in different]
        twice = sorted({name for name in served if served.count(name) > 1})
        if twice:
            raise ValueError(f"two revisions of {', '.join(twice)}, which is served under one name")
        return different


def load_settings() -> Settings:
    """Read the settings; ValueError names a WHISPER_* variable that does not exist."""
    given = {**dotenv_values(".env"), **os.environ}
    known = {name.upper() for name in Settings.model_fields}
    ours = {name: value for name, value in given.items() if name.upper().startswith("WHISPER_")}
    unknown = sorted(
        name
        for name, value in ours.items()
        if name.upper() not in known and not _is_of_kubernetes(name, value or "")
    )
    if unknown:
        raise ValueError(f"Unknown settings: {', '.join(unknown)}")
    return Settings()


def _is_of_kubernetes(name: str, value: str) -> bool:
    """Whether Kubernetes sets the variable, as it does beside each Service, with names made of that one's."""
    if re.match(r"WHISPER_(SERVICE_|.*_SERVICE_(HOST|PORT)|(.*_)?PORT_\d+_)", name, re.IGNORECASE):
        return True
    return name.upper().endswith("_PORT") and "://" in value
