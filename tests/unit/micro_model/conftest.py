"""Makes `tools.micro_model` importable and gives the shipped model, quantized and not."""

import sys
from pathlib import Path

import pytest
from house import ROOT

sys.path.insert(0, str(ROOT))


@pytest.fixture(scope="session")
def micro() -> Path:
    """The folder of the shipped model, whose weights are int8."""
    return ROOT / "whisper-service" / "models" / "micro"
