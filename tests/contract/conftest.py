"""Clients of the contract tests."""

import pytest
from openai_sdk import Sdk
from running import Running


@pytest.fixture(params=["sync", "async"])
def both(request: pytest.FixtureRequest, gateway: Running) -> Sdk:
    """The SDK in both its kinds."""
    return Sdk(gateway.url, request.param)


@pytest.fixture
def sdk(gateway: Running) -> Sdk:
    """The SDK, synchronous."""
    return Sdk(gateway.url)
