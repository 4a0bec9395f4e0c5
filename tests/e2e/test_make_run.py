"""`make run` as users know it: one command, a line to paste, and nothing left when it ends."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest
import requests
from house import ROOT
from processes import (
    PATIENCE,
    SETTINGS,
    clean_environment,
    descendants,
    free_port,
    until,
    wait_for_end,
)

from tools import serve

TEXT = (
    "I have eleven chairs and sixty batteries. Can you send the letter to Clara before Wednesday?"
)


def make_run(
    stdout: "IO[str] | int" = subprocess.PIPE, **settings: object
) -> subprocess.Popen[str]:
    own: dict[str, object] = {  # whatever a `.env` says that is there
        **{name.upper(): "" for name in SETTINGS},
        "SERVICE_PORT": free_port(),
        "API_GATEWAY_PORT": free_port(),
        "WHISPER_MODELS": "micro",
        "API_KEY": "change-me",
    }
    return subprocess.Popen(
        ["make", "run"],
        cwd=ROOT,
        env=clean_environment(**own | settings),
        stdout=stdout,
        stderr=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )


def greeting(run: subprocess.Popen[str]) -> str:
    assert run.stdout is not None
    lines = []
    for line in run.stdout:
        lines.append(line)
        if "Ctrl-C" in line:
            return "".join(lines)
    assert run.stderr is not None
    raise AssertionError(f"it ended before it was ready: {run.stderr.read()}")


@contextmanager
def serving(**settings: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    run = make_run(**settings)
    try:
        yield run, greeting(run)
    finally:
        run.terminate()
        run.communicate(timeout=PATIENCE)


def test_the_printed_curl_line_works_when_pasted() -> None:
    with serving(API_KEY="it's a key; $HOME") as (_, text):
        line = re.search(r"^ +Try +(curl .*)$", text, re.MULTILINE)
        assert line is not None
        pasted = subprocess.run(
            f"{line[1]} --silent", shell=True, capture_output=True, text=True, check=True
        )
        assert pasted.stdout == f'{{"text":"{TEXT}","language":"en"}}'
        base = re.search(r"Ready at +(\S+) +\(OpenAI clients: (\S+)\)", text)
        assert base is not None
        assert base[2] == f"{base[1]}/v1"
        assert "API key   it's a key; $HOME\n" in text


def test_the_readme_shows_the_answer_to_the_line_that_is_printed() -> None:
    readme = (ROOT / "README.md").read_text()
    line = re.search(r"```bash\n(curl [^`]+)```\n```json\n([^`]+)```", readme)
    assert line is not None
    assert json.loads(line[2]) == {"text": TEXT, "language": "en"}
    assert f"file=@{serve.SAMPLE.relative_to(ROOT)}" in line[1]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_signal_to_make_alone_leaves_no_process_behind(number: signal.Signals) -> None:
    with serving() as (run, _):
        pids = descendants(run.pid)
        assert len(pids) >= 3  # serve.py, worker, gateway
        watched = [os.pidfd_open(pid) for pid in pids]
        run.send_signal(number)
        for process in watched:
            wait_for_end(process)
        assert run.wait(PATIENCE) == -number


def test_a_signal_to_the_whole_group_as_a_terminal_sends_it_leaves_no_process_behind() -> None:
    with serving() as (run, _):
        watched = [os.pidfd_open(pid) for pid in descendants(run.pid)]
        os.killpg(run.pid, signal.SIGINT)
        for process in watched:
            wait_for_end(process)
        assert run.wait(PATIENCE) == -signal.SIGINT


def test_nobody_has_to_read_what_is_printed() -> None:
    port = free_port()
    with Path("/dev/full").open("w") as full:
        run = make_run(stdout=full, API_GATEWAY_PORT=port)
    try:
        url = f"http://127.0.0.1:{port}/readyz"
        until(lambda: _answers(url), "it was ready")
        assert run.poll() is None
    finally:
        run.terminate()
        run.communicate(timeout=PATIENCE)


def _answers(url: str) -> bool:
    try:
        return requests.get(url, timeout=PATIENCE).ok
    except requests.ConnectionError:
        return False


def test_a_port_in_use_is_one_clear_sentence() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        run = make_run(SERVICE_PORT=port)
        _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 2
    assert errors.splitlines()[0] == (
        f"make run: port {port} cannot be used (Address already in use); set SERVICE_PORT to another"
    )


def test_a_service_that_fails_ends_the_run_with_its_message() -> None:
    run = make_run(WHISPER_BEAM_SIZES=5)
    _, errors = run.communicate(timeout=PATIENCE)
    assert run.returncode == 2
    assert "whisper-service cannot start: Unknown settings: WHISPER_BEAM_SIZES" in errors
    assert "make run: the worker ended with exit status 1 (its log is above)" in errors


def test_the_worker_is_the_gateways_alone_unless_somebody_says_otherwise() -> None:
    ports = {"SERVICE_PORT": "0", "API_GATEWAY_PORT": "0"}
    first, second = (serve.environment(ports)["WORKER_TOKEN"] for _ in range(2))
    assert len(first) == 32
    assert first != second
    assert serve.environment(ports | {"WORKER_TOKEN": "mine"})["WORKER_TOKEN"] == "mine"
    assert "WORKER_TOKEN" not in serve.environment(ports | {"WORKER_TOKEN": ""})


def test_a_dotenv_is_read_as_compose_reads_single_quotes_and_a_name_alone_opens_nothing(
    tmp_path: Path,
) -> None:
    file = tmp_path / ".env"
    file.write_text("API_KEY\nWORKER_TOKEN='pa${X}ss$HOME'\nWHISPER_MODELS=micro\n")
    given = serve.read_dotenv(file)
    assert given == {"WORKER_TOKEN": "pa${X}ss$HOME", "WHISPER_MODELS": "micro"}
    assert "API_KEY" not in serve.environment(
        given | {"SERVICE_PORT": "0", "API_GATEWAY_PORT": "0"}
    )


def test_what_is_not_given_suits_one_machine_and_the_shipped_model() -> None:
    env = serve.environment({"SERVICE_PORT": "0", "API_GATEWAY_PORT": "0", "PATH": "/bin"})
    port = env.pop("SERVICE_PORT")
    assert env.pop("API_GATEWAY_PORT").isdecimal()
    assert env.pop("WORKER_TOKEN")
    assert env == {
        "PATH": "/bin",
        "WHISPER_MODELS": "micro",
        "SERVICE_HOST": "127.0.0.1",
        "API_GATEWAY_HOST": "0.0.0.0",
        "MODEL_URL": f"http://127.0.0.1:{port}",
    }


def test_two_free_ports_are_never_the_same() -> None:
    for _ in range(20):
        env = serve.environment({"SERVICE_PORT": "0", "API_GATEWAY_PORT": "0"})
        assert env["SERVICE_PORT"] != env["API_GATEWAY_PORT"]


def test_one_port_for_both_is_refused() -> None:
    port = str(free_port())
    with pytest.raises(serve.CannotRun, match="are the same; give each its own"):
        serve.environment({"SERVICE_PORT": port, "API_GATEWAY_PORT": port})


@pytest.mark.parametrize("port", ["http", "65536", "-1"])
def test_what_is_not_a_port_is_named(port: str) -> None:
    with pytest.raises(serve.CannotRun, match=f"API_GATEWAY_PORT={port} is not a port"):
        serve.environment({"SERVICE_PORT": "0", "API_GATEWAY_PORT": port})


def has_ipv6() -> bool:
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return True
    except OSError:
        return False


IPV6 = pytest.mark.skipif(not has_ipv6(), reason="this machine has no IPv6")


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("0.0.0.0", "127.0.0.1"),
        pytest.param("::", "[::1]", marks=IPV6),
        pytest.param("::1", "[::1]", marks=IPV6),
    ],
)
def test_an_address_of_either_kind_is_probed_and_printed_as_urls_have_it(
    host: str, shown: str
) -> None:
    ports = {"SERVICE_PORT": "0", "API_GATEWAY_PORT": "0"}
    env = serve.environment(ports | {"SERVICE_HOST": host, "API_GATEWAY_HOST": host})
    assert env["MODEL_URL"] == f"http://{shown}:{env['SERVICE_PORT']}"
    assert serve.base_url(env) == f"http://{shown}:{env['API_GATEWAY_PORT']}"


@pytest.mark.parametrize("name", ["SERVICE_HOST", "API_GATEWAY_HOST"])
@pytest.mark.parametrize("host", ["192.0.2.1", "2001:db8::1"])
def test_an_address_that_is_not_of_this_machine_is_what_is_blamed(name: str, host: str) -> None:
    with pytest.raises(serve.CannotRun, match=rf"^{host} cannot be used \(.+\); set {name} to"):
        serve.environment({"SERVICE_PORT": "0", "API_GATEWAY_PORT": "0", name: host})


def test_the_printed_curl_line_names_a_model_that_is_allowed() -> None:
    env = {"API_KEY": "", "WHISPER_MODELS": "org/name@v2, small"}
    assert "/transcribe/org/name " in serve.greeting("http://127.0.0.1:1", env)
    allowed = env | {"ALLOWED_MODELS": "small"}
    assert "/transcribe/small " in serve.greeting("http://127.0.0.1:1", allowed)


def test_without_a_key_the_printed_curl_line_sends_none() -> None:
    text = serve.greeting("http://127.0.0.1:1", {"API_KEY": "", "ALLOWED_MODELS": "micro"})
    assert "API key   (none: anyone may use it)" in text
    assert "Authorization" not in text
