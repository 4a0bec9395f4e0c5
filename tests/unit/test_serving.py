"""What a service takes from its surroundings when it starts to serve."""

import resource
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi import FastAPI
from gateway import main as gateway_main
from gateway import server
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


def test_a_service_is_served_with_the_limits_that_are_documented(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of uvicorn's own defaults none is: a stop waits without end, and every proxy may be believed."""
    configs: list[Any] = []
    done: list[str] = []

    class Server:
        started = True

        def __init__(self, config: Any) -> None:
            configs.append(config)

        def run(self, sockets: object = None) -> None:
            done.append("served")

    monkeypatch.setattr(server.uvicorn, "Server", Server)
    monkeypatch.setattr(
        signal, "signal", lambda number, _: done.append(signal.Signals(number).name)
    )
    monkeypatch.setattr(server, "allow_open_files", lambda: done.append("files"))
    server.serve(
        FastAPI(), host="127.0.0.1", port=0, log_level="INFO", trusted_proxies="10.0.0.0/8"
    )
    [config] = configs
    assert done == ["files", "SIGINT", "SIGTERM", "served"]
    assert config.timeout_graceful_shutdown == 30
    assert config.timeout_keep_alive == 75
    assert config.h11_max_incomplete_event_size == 32 * 1024
    assert config.forwarded_allow_ips == "10.0.0.0/8"
    assert config.http is server.DeadlineProtocol
