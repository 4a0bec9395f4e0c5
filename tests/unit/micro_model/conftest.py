"""The shipped model, quantized and not."""

from pathlib import Path

import pytest
from house import MICRO


@pytest.fixture(scope="session")
def micro() -> Path:
    """The folder of the shipped model, whose weights are int8."""
    return MICRO
