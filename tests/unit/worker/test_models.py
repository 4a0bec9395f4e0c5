"""What becomes of a worker's models when they are broken, and when it stops while they load."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from house import MICRO
from worker import models as module
from worker.decoding.station import Station
from worker.errors import ModelPending, ModelUnavailable
from worker.hub import HubFailed, ModelUnobtainable
from worker.models import Models
from worker.settings import Settings


class Warm:
    """A model's station that knows how often it was closed."""

    closed = 0

    def close(self) -> None:
        self.closed += 1


def test_a_model_that_is_warm_only_after_the_stop_is_closed_and_the_next_is_not_loaded() -> None:
    loaded: list[Any] = []

    def load(name: str, directory: Path) -> Any:
        models.close()
        loaded.append(Warm())
        return loaded[-1]

    settings = Settings(whisper_models=["micro", "again"], whisper_aliases={"again": str(MICRO)})
    models = Models(settings, load)
    models.load_all()
    assert [station.closed for station in loaded] == [1]


def test_broken_models_are_named_with_what_is_wrong_and_the_others_serve(
    tmp_path: Path,
) -> None:
    broken = {
        "cut": ("model.bin", (MICRO / "model.bin").read_bytes()[:5_000_000]),
        "garbled": ("config.json", b"{"),
        "listed": ("config.json", b"[]"),
        "wordless": ("tokenizer.json", b"{"),
    }
    for name, (file, content) in broken.items():
        shutil.copytree(MICRO, tmp_path / name)
        (tmp_path / name / file).write_bytes(content)
    settings = Settings(
        whisper_models=[*broken, "micro"],
        whisper_aliases={name: str(tmp_path / name) for name in broken},
        whisper_device="cpu",
        whisper_cpu_threads=1,
    )
    models = Models(settings, lambda name, directory: Station(name, directory, settings))
    assert models.load_all()
    try:
        health = models.health()
        assert (health.status, health.loaded_models, health.pending) == ("ok", ["micro"], [])
        assert [failed.model for failed in health.failed] == list(broken)
        for failed in health.failed:  # what follows are mostly words of CTranslate2
            assert failed.reason.startswith(f"'{failed.model}' could not be loaded: ")
        assert "its tokenizer.json cannot be read" in health.failed[-1].reason
        for name in broken:
            with pytest.raises(ModelUnavailable, match=f"'{name}' could not be loaded"):
                models.station(name)
        assert {info.id: info.status for info in models.infos()} == {
            **dict.fromkeys(broken, "failed"),
            "micro": "ready",
        }
        assert models.station("micro").is_well
    finally:
        models.close()


def test_what_the_hub_could_not_give_is_fetched_later_while_another_model_serves(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module, "HUB_SECONDS", 0.01)
    asked: list[str] = []

    def find(name: str, *_: Any, **__: Any) -> Path:
        asked.append(name)
        if name == "org/gated":
            raise ModelUnobtainable("org/gated is gated")
        if name == "org/late" and asked.count(name) < 3:
            with pytest.raises(ModelPending, match="is still"):
                models.station(name)
            raise HubFailed("org/late could not be fetched: the hub cannot be reached")
        return MICRO

    monkeypatch.setattr(module, "find_model", find)
    settings = Settings(whisper_models=["org/late", "org/gated", "micro"])
    models = Models(settings, lambda name, directory: Warm())  # type: ignore[arg-type,return-value]
    assert models.load_all()
    assert asked == ["org/late", "org/gated", "micro", "org/late", "org/late"]
    assert isinstance(models.station("org/late"), Warm)
    with pytest.raises(ModelUnavailable):
        models.station("org/gated")


def test_a_worker_that_serves_nothing_ends_though_the_hub_may_come_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def find(name: str, *_: Any, **__: Any) -> Path:
        raise HubFailed(f"{name} could not be fetched: the hub cannot be reached")

    monkeypatch.setattr(module, "find_model", find)
    models = Models(Settings(whisper_models=["org/late"]), lambda name, directory: Warm())  # type: ignore[arg-type,return-value]
    assert not models.load_all()
    assert [failed.model for failed in models.health().failed] == ["org/late"]
