"""The shipped model in float32, in which batches are exact, and the queue before it: in this process."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from house import MICRO
from worker.audio import Cage
from worker.decoding.station import Station
from worker.models import Models
from worker.settings import Settings
from worker.transcribe import Transcriber


@pytest.fixture(scope="session")
def micro() -> Path:
    """The directory of the shipped model."""
    return MICRO


@pytest.fixture(scope="session")
def station() -> Iterator[Station]:
    """The shipped model with its queue, in float32 on one thread."""
    settings = Settings(
        whisper_models=["micro"],
        whisper_device="cpu",
        whisper_compute_type="float32",
        whisper_cpu_threads=1,
    )
    served = Station("micro", MICRO, settings)
    yield served
    served.close()


@pytest.fixture(scope="session")
def transcriber(station: Station) -> Iterator[Transcriber]:
    """Requests to that model, without HTTP."""
    settings = Settings(whisper_models=["micro"], whisper_aliases={"micro": str(MICRO)})
    models = Models(settings, lambda name, directory: station)
    assert models.load_all()
    with Cage() as cage:
        yield Transcriber(settings, models, cage)
