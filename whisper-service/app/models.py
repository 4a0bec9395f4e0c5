"""Which models this worker has: loaded one after the other at start, each served as soon as warm."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from .decoding.station import Station
from .engine import EngineError
from .errors import ModelNotFound, ModelPending, ModelUnavailable
from .hub import HubFailed, ModelUnobtainable, find_model
from .settings import Settings
from .wire import FailedModel, Health, ModelInfo, PendingModel

log = logging.getLogger(__name__)

HUB_SECONDS = 60.0
"""Between two times that the hub is asked for what it could not give."""

Stage = Literal["waiting", "being fetched", "loading", "waiting for the hub", "ready", "failed"]
LoadStation = Callable[[str, Path], Station]


@dataclass
class _Entry:
    """One configured model."""

    name: str
    stage: Stage = "waiting"
    progress: float | None = None
    station: Station | None = None
    """The model once it is ready."""
    reason: str | None = None
    """Why it has failed, or why the hub has not given it yet."""

    @property
    def is_pending(self) -> bool:
        """Whether it may still be ready some day."""
        return self.stage not in ("ready", "failed")


@dataclass
class Models:
    """The configured models in their order; `load_all` fills them, requests ask for their stations."""

    settings: Settings
    load: LoadStation
    _entries: dict[str, _Entry] = field(init=False)
    _stopping: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        names = (name.partition("@")[0] for name in self.settings.whisper_models)
        self._entries = {name: _Entry(name) for name in names}

    def station(self, name: str) -> Station:
        """Return a warm model with its queue.

        Raises ModelNotFound, ModelPending while it is being fetched or loaded, ModelUnavailable
        when that has failed.
        """
        entry = self._entries.get(name)
        if entry is None:
            raise ModelNotFound(f"The model '{name}' is not served here", param="model")
        if entry.station is not None:
            return entry.station
        if entry.stage == "failed":
            raise ModelUnavailable(f"The model '{name}' could not be loaded", param="model")
        raise ModelPending(f"The model '{name}' is still {entry.stage}", retry_after=10)

    def load_all(self) -> bool:
        """Fetch, load and warm up every model in order (blocking); False when all of them failed.

        Returns only when the hub has given, or refused, all of them: while another model serves, what it
        could not give is asked for again and again.
        """
        waiting = self.settings.whisper_models
        while waiting and not self._stopping.wait(HUB_SECONDS if self._has_loaded else 0):
            for configured in waiting:
                if not self._stopping.is_set():
                    self._load_one(configured, self._entry(configured))
            if not self._has_loaded and not self._stopping.is_set():
                for entry in self._entries.values():
                    entry.stage = "failed"
                return False
            waiting = [name for name in waiting if self._entry(name).is_pending]
        return True

    def _entry(self, configured: str) -> _Entry:
        return self._entries[configured.partition("@")[0]]

    @property
    def _has_loaded(self) -> bool:
        return any(entry.station for entry in self._entries.values())

    def _load_one(self, configured: str, entry: _Entry) -> None:
        def report(share: float | None) -> None:
            entry.progress = share

        began = time.monotonic()
        try:
            entry.stage = "being fetched"
            directory = find_model(
                configured,
                self.settings.whisper_aliases,
                offline=self.settings.whisper_offline,
                cache_dir=self.settings.whisper_cache_dir,
                report=report,
            )
            entry.stage, entry.progress, entry.reason = "loading", None, None
            entry.station = self.load(entry.name, directory)
            entry.stage = "ready"
            if self._stopping.is_set():
                entry.station.close()  # `close` may have come too early to see it
        except HubFailed as exc:
            entry.reason, entry.stage, entry.progress = str(exc), "waiting for the hub", None
            log.error("model %s failed: %s", entry.name, exc)
        except (ModelUnobtainable, EngineError) as exc:
            entry.reason, entry.stage = str(exc), "failed"
            log.error("model %s failed: %s", entry.name, exc)
        except Exception:
            entry.reason = f"'{entry.name}' could not be loaded; the worker's log says why"
            entry.stage = "failed"
            log.exception("model %s failed", entry.name)
        else:
            log.info("model %s ready after %.1f s", entry.name, time.monotonic() - began)

    def close(self) -> None:
        """Stop loading after the current model and release the loaded ones."""
        self._stopping.set()
        for entry in self._entries.values():
            if entry.station is not None:
                entry.station.close()

    def health(self) -> Health:
        """`ok` once a model serves, `loading` before, `stalled` when one has stopped working."""
        entries = self._entries.values()
        loaded = [entry.name for entry in entries if entry.station]
        is_well = all(entry.station.is_well for entry in entries if entry.station)
        return Health(
            status=("ok" if is_well else "stalled") if loaded else "loading",
            loaded_models=loaded,
            pending=[
                PendingModel(
                    model=entry.name,
                    stage=entry.stage,
                    progress=entry.progress,
                    reason=entry.reason,
                )
                for entry in entries
                if entry.is_pending
            ],
            failed=[
                FailedModel(model=entry.name, reason=entry.reason or "")
                for entry in entries
                if entry.stage == "failed"
            ],
        )

    def infos(self) -> list[ModelInfo]:
        """What each configured model can do; of those not loaded yet, only the name and state."""
        infos = []
        for entry in self._entries.values():
            if entry.station is not None:
                infos.append(entry.station.info)
            else:
                status = "pending" if entry.is_pending else "failed"
                infos.append(ModelInfo.model_validate({"id": entry.name, "status": status}))
        return infos
