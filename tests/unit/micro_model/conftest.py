"""The shipped model, quantized and not."""

from pathlib import Path

import pytest
from house import ROOT


@pytest.fixture(scope="session")
def micro() -> Path:
    """The folder of the shipped model, whose weights are int8."""
    return ROOT / "whisper-service" / "models" / "micro"
