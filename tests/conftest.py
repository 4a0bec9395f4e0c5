"""Fixtures of all tests; importing `house` makes both services importable (see there)."""

from collections.abc import Iterator

import house  # noqa: F401  (first: it gives the two services their names)
import pytest
from hypothesis import HealthCheck, settings
from processes import without_settings
from running import Running, serve_gateway, serve_worker

# No test fails because the machine is busy.
settings.register_profile(
    "any machine", deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("any machine")


@pytest.fixture(scope="session", autouse=True)
def _nothing_set(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What somebody has set for their own services is not for the tests."""
    with without_settings(tmp_path_factory.mktemp("no-settings")):
        yield


@pytest.fixture(scope="session")
def worker() -> Iterator[Running]:
    """A real worker with the shipped model, shared by the tests that leave it as it is."""
    with serve_worker() as running:
        yield running


@pytest.fixture(scope="session")
def gateway(worker: Running) -> Iterator[Running]:
    """A real gateway before that worker."""
    with serve_gateway(worker.url) as running:
        yield running


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--docker", action="store_true", help="also run what needs a Docker engine")


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("docker") and not item.config.getoption("--docker"):
        pytest.skip("needs --docker")
