"""The compose files with a real Docker engine: from building the images to a transcript to nothing.

Runs with `pytest --docker`. BASE_IMAGE and BUILD_NETWORK in the environment build where no registry
can be reached. The services run as a user that no image knows, as some platforms choose one.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import yaml
from house import DATA, ROOT
from processes import clean_environment, free_port, until

pytestmark = pytest.mark.docker

TEXT = (
    "I have eleven chairs and sixty batteries. Can you send the letter to Clara before Wednesday?"
)
USER = "12345:0"


class Compose:
    """One project of the repository's compose file, on ports and a volume of its own."""

    def __init__(self, folder: Path) -> None:
        self.gateway_port, self.worker_port = free_port(), free_port()
        self._project = f"transcription-test-{os.getpid()}"
        self._override = folder / "override.yml"
        build = {"network": os.environ.get("BUILD_NETWORK", "default")}
        changed = {
            "services": {
                "whisper-service": {
                    "user": USER,
                    "build": build,
                    "healthcheck": {"interval": "2s"},
                },
                "api-gateway": {"user": USER, "build": build},
            },
            "volumes": {"models-cache": {"name": f"{self._project}-models"}},
        }
        self._override.write_text(yaml.safe_dump(changed))
        self._no_settings = self._override.with_name("no-settings")  # not those of a clone's `.env`
        self._no_settings.touch()
        self._env = clean_environment(
            VERSION="test",
            WHISPER_MODELS="micro",
            API_KEY="compose-key",
            WORKER_TOKEN="compose-token",
            API_GATEWAY_PORT=self.gateway_port,
            SERVICE_PORT=self.worker_port,
        )

    def __call__(self, *arguments: str) -> str:
        """Run one compose command; its standard output."""
        modern = subprocess.run(["docker", "compose", "version"], capture_output=True, check=False)
        program = ["docker", "compose"] if modern.returncode == 0 else ["docker-compose"]
        files = [
            "--env-file",
            str(self._no_settings),
            "--file",
            str(ROOT / "docker-compose.yml"),
            "--file",
            str(self._override),
        ]
        done = subprocess.run(
            [*program, "--project-name", self._project, *files, *arguments],
            env=self._env,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def inspect(self, service: str) -> dict[str, object]:
        """What Docker knows of the service's container."""
        container = self("ps", "--quiet", service).strip()
        return json.loads(_docker("inspect", container))[0]

    def inside(self, service: str, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command in the service's container."""
        container = self("ps", "--quiet", service).strip()
        return subprocess.run(
            ["docker", "exec", container, *command], capture_output=True, text=True, check=False
        )


def _docker(*arguments: str) -> str:
    return subprocess.run(["docker", *arguments], capture_output=True, text=True, check=True).stdout


@pytest.fixture(scope="module")
def compose(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Compose]:
    assert shutil.which("docker"), "--docker needs Docker"
    compose = Compose(tmp_path_factory.mktemp("compose"))
    try:
        compose("up", "--build", "--detach")
        until(lambda: _answers(compose.gateway_port), "the gateway was ready")
        yield compose
    finally:
        compose("down", "--volumes", "--timeout", "45")


def _answers(port: int) -> bool:
    try:
        return requests.get(f"http://127.0.0.1:{port}/readyz", timeout=5).status_code == 200
    except requests.ConnectionError:
        return False


def _post(port: int, path: str, token: str) -> requests.Response:
    with (DATA / "short" / "en-2.wav").open("rb") as audio:
        return requests.post(
            f"http://127.0.0.1:{port}{path}",
            headers={"Authorization": f"Bearer {token}"},
            files={"file": audio},
            timeout=120,
        )


def test_a_file_goes_through_both_containers_to_its_text(compose: Compose) -> None:
    answer = _post(compose.gateway_port, "/transcribe/micro", "compose-key")
    assert (answer.status_code, answer.json()) == (200, {"text": TEXT, "language": "en"})


def test_the_worker_refuses_whoever_has_not_its_secret(compose: Compose) -> None:
    assert _post(compose.worker_port, "/transcribe-micro", "compose-key").status_code == 403
    assert _post(compose.worker_port, "/transcribe-micro", "compose-token").status_code == 200


def test_the_worker_is_published_on_this_machine_alone(compose: Compose) -> None:
    assert compose("port", "whisper-service", "8080").strip() == f"127.0.0.1:{compose.worker_port}"


def test_the_worker_is_healthy_by_its_own_check_and_by_a_users_curl(compose: Compose) -> None:
    assert compose.inspect("whisper-service")["State"]["Health"]["Status"] == "healthy"  # type: ignore[index]
    curl = compose.inside("whisper-service", "curl", "-fsS", "http://localhost:8080/health")
    assert json.loads(curl.stdout)["loaded_models"] == ["micro"]


@pytest.mark.parametrize("service", ["whisper-service", "api-gateway"])
def test_a_service_runs_as_any_user_and_can_write_only_to_its_temporary_folder(
    compose: Compose, service: str
) -> None:
    assert compose.inside(service, "id", "-u").stdout == "12345\n"
    written = compose.inside(service, "touch", "/var/tmp/anything")
    assert written.returncode == 1
    assert "Read-only file system" in written.stderr
    assert compose.inside(service, "touch", "/tmp/anything").returncode == 0


@pytest.mark.parametrize("service", ["whisper-service", "api-gateway"])
def test_an_image_holds_no_build_tools(compose: Compose, service: str) -> None:
    for tool in ("gcc", "cc", "make", "git"):
        assert compose.inside(service, "sh", "-c", f"command -v {tool}").stdout == ""
    assert compose.inside(service, "python", "-m", "pip").returncode == 1


def test_any_user_can_store_models_in_the_cache(compose: Compose) -> None:
    stored = compose.inside(
        "whisper-service", "sh", "-c", "touch $HF_HOME/probe && rm $HF_HOME/probe"
    )
    assert (stored.returncode, stored.stderr) == (0, "")


def test_a_plain_stop_is_clean_and_quick_enough_that_nothing_is_killed(compose: Compose) -> None:
    compose("stop", "--timeout", "45")
    ids = compose("ps", "--quiet", "--all").split()
    states = [json.loads(_docker("inspect", container))[0]["State"] for container in ids]
    assert [(state["OOMKilled"], state["ExitCode"]) for state in states] == [(False, 0)] * 2
