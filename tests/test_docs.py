"""What is written about settings and what the code reads are one: README, .env.example, compose."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from fastapi import FastAPI, Response
from gateway.fields import GATEWAYS_OWN
from gateway.settings import Settings as GatewaySettings
from gateway.wire import Options
from house import ROOT
from pydantic_settings import BaseSettings
from running import serve
from worker.main import LOADING_SECONDS
from worker.server import GRACE_SECONDS
from worker.settings import Settings as WorkerSettings
from worker.settings import load_settings

SERVICES = {"whisper-service": WorkerSettings, "api-gateway": GatewaySettings}
OF_THE_HUB = {"HF_TOKEN", "HF_ENDPOINT", "HTTPS_PROXY", "NO_PROXY", "SSL_CERT_FILE"}
ADDRESSES = {"SERVICE_HOST", "API_GATEWAY_HOST"}
"""A container listens on all its addresses; what is reachable from outside is said by `ports`."""


def names(settings: type[BaseSettings]) -> set[str]:
    return {field.upper() for field in settings.model_fields}


def env_example() -> dict[str, str]:
    text = (ROOT / ".env.example").read_text()
    pairs = re.findall(r"^#([A-Z_]+)=(.*)$", text, re.MULTILINE)
    assert len(pairs) == len(dict(pairs)), "a setting stands there twice"
    return dict(pairs)


def compose(name: str = "docker-compose.yml") -> dict[str, Any]:
    return yaml.safe_load((ROOT / name).read_text())


def compose_variables() -> dict[str, str]:
    """The variables that the compose files themselves read, with their defaults."""
    text = "".join(path.read_text() for path in sorted(ROOT.glob("docker-compose*.yml")))
    return dict(re.findall(r"\$\{([A-Z_]+):?-([^}]*)\}", text))


def readme_settings() -> dict[str, str]:
    """The README's tables of settings: names with their defaults, as they would be written in .env."""
    text = (ROOT / "README.md").read_text()
    section = text.split("\n## Settings\n")[1].split("\n## ")[0]
    rows = re.findall(r"^\| (`[A-Z_`, ]+`) \| ([^|]+) \|", section, re.MULTILINE)
    found = [
        pair
        for names, defaults in rows
        for pair in zip(re.findall(r"`([^`]+)`", names), _values(defaults), strict=True)
    ]
    assert len(found) == len(dict(found)), "a setting stands there twice"
    return dict(found)


def _values(defaults: str) -> list[str]:
    return [""] if defaults in ("unset", "empty") else re.findall(r"`([^`]+)`", defaults)


@pytest.mark.parametrize("service", SERVICES)
def test_env_example_shows_every_setting_with_its_default(service: str, tmp_path: Path) -> None:
    settings = SERVICES[service]
    assert names(settings) - set(env_example()) == set()
    active = tmp_path / "env"
    active.write_text("".join(f"{name}={value}\n" for name, value in env_example().items()))
    assert settings(_env_file=active) == settings(_env_file=None)  # type: ignore[call-arg]


def test_the_readme_shows_every_setting_with_its_default() -> None:
    known = set.union(*map(names, SERVICES.values()))
    shown = readme_settings()
    assert set(shown) == known
    assert shown == {name: value for name, value in env_example().items() if name in known}


def test_env_example_shows_nothing_that_nobody_reads() -> None:
    known = set.union(*map(names, SERVICES.values())) | OF_THE_HUB | set(compose_variables())
    assert set(env_example()) - known == set()


def test_env_example_sets_nothing_when_copied_as_it_is() -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    assert [line for line in lines if line and not line.startswith("#")] == []


def test_env_example_says_what_compose_takes_when_a_variable_is_not_set() -> None:
    differing = {"WORKER_TOKEN"}  # the services do without; compose does not
    shown = env_example()
    for name, default in compose_variables().items():
        assert name in differing or shown[name] == default


@pytest.mark.parametrize("service", SERVICES)
def test_compose_passes_every_setting_to_its_service_and_nothing_else(service: str) -> None:
    passed = set(compose()["services"][service]["environment"])
    others = OF_THE_HUB if service == "whisper-service" else {"WHISPER_MODELS"}
    assert passed - others == names(SERVICES[service]) - ADDRESSES


def test_the_gpu_file_sets_only_what_the_worker_knows() -> None:
    passed = set(compose("docker-compose.gpu.yml")["services"]["whisper-service"]["environment"])
    assert passed - names(WorkerSettings) == set()


@pytest.mark.parametrize(
    ("service", "variable", "field"),
    [
        ("whisper-service", "SERVICE_PORT", "service_port"),
        ("api-gateway", "API_GATEWAY_PORT", "api_gateway_port"),
    ],
)
def test_ports_are_the_same_in_settings_compose_image_and_health_check(
    service: str, variable: str, field: str
) -> None:
    port = str(SERVICES[service].model_fields[field].default)
    part = compose()["services"][service]
    assert part["environment"][variable] == port
    assert part["ports"][0].endswith(f"${{{variable}:-{port}}}:{port}")
    dockerfile = (ROOT / service / "Dockerfile").read_text()
    assert f"EXPOSE {port}\n" in dockerfile
    assert f'os.getenv(\\"{variable}\\", \\"{port}\\")' in dockerfile


def test_services_in_kubernetes_hide_no_setting_and_are_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each pod gets variables for each Service of its namespace, named after it."""
    services = ("WHISPER_SERVICE", "API_GATEWAY", "WHISPER", "WHISPER_UI")
    for name, host in zip(services, ("10.0.0.5", "10.0.0.6", "10.0.0.7", "10.0.0.8"), strict=True):
        monkeypatch.setenv(f"{name}_SERVICE_HOST", host)
        monkeypatch.setenv(f"{name}_SERVICE_PORT", "8080")
        monkeypatch.setenv(f"{name}_PORT", f"tcp://{host}:8080")
        monkeypatch.setenv(f"{name}_PORT_8080_TCP", f"tcp://{host}:8080")
    assert load_settings().service_port == 8080
    assert GatewaySettings().api_gateway_port == 8081
    monkeypatch.setenv("WHISPER_PORT", "9000")
    with pytest.raises(ValueError, match="Unknown settings: WHISPER_PORT"):
        load_settings()


@pytest.mark.parametrize("service", SERVICES)
def test_health_checks_ask_the_service_and_not_a_proxy(service: str) -> None:
    """Docker sets `http_proxy` in every container where its own configuration names proxies."""
    dockerfile = (ROOT / service / "Dockerfile").read_text().replace("\\\n", "")
    found = re.search(r"^HEALTHCHECK .*CMD (\[.*\])$", dockerfile, re.MULTILINE)
    assert found
    variable = "SERVICE_PORT" if service == "whisper-service" else "API_GATEWAY_PORT"
    app = FastAPI()
    for path in ("/health", "/livez"):
        app.get(path)(lambda: Response())
    with serve(app) as running:
        environment = {
            "PATH": os.environ["PATH"],
            "http_proxy": "http://127.0.0.1:9",
            variable: running.url.rpartition(":")[2],
        }
        _, *arguments = json.loads(found[1])
        assert subprocess.run([sys.executable, *arguments], env=environment).returncode == 0


def test_only_the_gateway_is_published_beyond_this_machine() -> None:
    services = compose()["services"]
    assert services["whisper-service"]["ports"] == ["127.0.0.1:${SERVICE_PORT:-8080}:8080"]
    everywhere = "${API_GATEWAY_HOST:-0.0.0.0}:${API_GATEWAY_PORT:-8081}:8081"
    assert services["api-gateway"]["ports"] == [everywhere]


def test_both_services_share_the_workers_secret_in_compose() -> None:
    services = compose()["services"]
    tokens = {services[name]["environment"]["WORKER_TOKEN"] for name in SERVICES}
    assert tokens == {"${WORKER_TOKEN-change-me}"}


def test_the_image_names_are_the_documented_ones() -> None:
    images = {part["image"] for part in compose()["services"].values()}
    assert images == {
        "local/whisper-service:${VERSION:-latest}",
        "local/transcription-gateway:${VERSION:-latest}",
    }


def test_containers_are_given_the_time_that_a_stop_takes() -> None:
    for name, service in compose()["services"].items():
        seconds = int(service["stop_grace_period"].removesuffix("s"))
        assert seconds > GRACE_SECONDS + LOADING_SECONDS, name


def options_table(kind: str | None = None) -> str:
    """The table of the contract's options, or of one of their kinds, as docs/options.md has it."""
    schema = Options.model_json_schema()
    fields = schema["properties"] if kind is None else schema["$defs"][kind]["properties"]
    rows = [
        f"| `{name}` | {_default(field)} | {field['description']} |"
        for name, field in fields.items()
        if name not in GATEWAYS_OWN
    ]
    return "\n".join(["| field | default | means |", "|---|---|---|", *rows, ""])


def _default(field: dict[str, Any]) -> str:
    default = field.get("default")
    return "see below" if isinstance(default, dict) else f"`{json.dumps(default)}`"


def test_the_options_are_documented_as_the_contract_has_them() -> None:
    text = (ROOT / "docs" / "options.md").read_text()
    assert options_table() in text
    assert options_table("VadParameters") in text
