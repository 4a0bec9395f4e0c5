"""What a service takes from its surroundings when it starts to serve."""

import resource
from collections.abc import Iterator
from typing import Any

import pytest
from gateway import main as gateway_main
from gateway.server import allow_open_files


@pytest.fixture
def few_files() -> Iterator[int]:
    """A process that may open fewer files than its system allows; how many it could."""
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (usual - 1, most))
    yield most
    resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))


def test_a_service_may_open_as_many_files_as_its_system_allows(few_files: int) -> None:
    allow_open_files()
    assert resource.getrlimit(resource.RLIMIT_NOFILE) == (few_files, few_files)


def test_the_gateway_believes_the_proxies_that_it_is_told_of(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", "172.16.0.0/12")
    served: dict[str, Any] = {}
    monkeypatch.setattr(gateway_main, "serve", lambda _, **how: served.update(how))
    monkeypatch.setattr(gateway_main, "configure_logging", lambda _: None)
    gateway_main.run()
    assert served["trusted_proxies"] == "172.16.0.0/12"
