"""What becomes of a worker's models when it stops while they load."""

from pathlib import Path
from typing import Any

from house import ROOT
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

    shipped = {"again": str(ROOT / "whisper-service" / "models" / "micro")}
    settings = Settings(whisper_models=["micro", "again"], whisper_aliases=shipped)
    models = Models(settings, load)
    models.load_all()
    assert [station.closed for station in loaded] == [1]
