"""Run both services natively, as `make run` does: the whole system without containers.

Starts worker and gateway as children, waits until the gateway says that it can take work, prints how
to use it, and ends both when it is told to end, when its own `make` dies, or when one of them fails.
Settings come from the environment and `.env`; the models default to `micro`, which ships here.
"""

import ctypes
import errno
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from dotenv import dotenv_values

ROOT = Path(__file__).resolve().parent.parent
SAMPLE = ROOT / "tests" / "data" / "short" / "en-2.wav"
PORTS = {"SERVICE_PORT": "8080", "API_GATEWAY_PORT": "8081"}
STOP_SECONDS = 40.0
"""A service lets running requests end for 30 s; one that takes longer than this is killed."""
LOOK_SECONDS = 0.1
UNDER_MAKE = "MAKELEVEL" in os.environ
PR_SET_PDEATHSIG = 1


class CannotRun(Exception):
    """Why nothing is served, in one sentence."""


@dataclass
class Service:
    """One child process and what it is called in messages."""

    name: str
    process: subprocess.Popen[bytes]


class StopSignal:
    """Remembers that SIGINT, SIGTERM or SIGHUP came; a second Ctrl-C makes haste."""

    def __init__(self) -> None:
        self._told = False
        self.interrupts = 0
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._told = True
        self.interrupts += number == signal.SIGINT

    @property
    def came(self) -> bool:
        """Whether to stop: told so, or `make` was, which keeps an interrupt to itself."""
        return self._told or (UNDER_MAKE and _make_was_interrupted())


def main() -> int:
    """Serve until told to stop; the exit status is 0 then, and 1 when a service failed."""
    if UNDER_MAKE:
        _die_with_parent()
    stop = StopSignal()
    services: list[Service] = []
    try:
        env = environment({**read_dotenv(ROOT / ".env"), **os.environ})
        services.append(_start("worker", ROOT / "whisper-service", env))
        services.append(_start("gateway", ROOT / "api-gateway", env))
        base = base_url(env)
        _wait(stop, services, lambda: _is_ready(base))
        if not stop.came:
            with suppress(OSError):  # who started it may not read on
                print(greeting(base, env), flush=True)
        _wait(stop, services, lambda: False)
    except CannotRun as exc:
        print(f"make run: {exc}", file=sys.stderr)
        return 1
    finally:
        _stop(stop, services)
    return 0


def read_dotenv(file: Path) -> dict[str, str]:
    """What a `.env` sets; no `$` in it means anything here, as none in single quotes does to compose.

    A name alone sets nothing: with an empty key everybody would be let in.
    """
    values = dotenv_values(file, interpolate=False)
    return {name: value for name, value in values.items() if value is not None}


def environment(given: Mapping[str, str]) -> dict[str, str]:
    """The services' environment: what is given, and where that says nothing, what suits one machine.

    Raises CannotRun when a port is not one or is in use, or when an address is not this machine's.
    """
    env = {name: value for name, value in given.items() if value}
    if "API_KEY" in given:
        env["API_KEY"] = given["API_KEY"]  # empty turns authentication off: not the same as unset
    env.setdefault("WHISPER_MODELS", "micro")
    env.setdefault("SERVICE_HOST", "127.0.0.1")  # the gateway is the only entry
    if "WORKER_TOKEN" not in given:
        # Also for this machine's other users, and for pages in its browser.
        env["WORKER_TOKEN"] = secrets.token_hex(16)
    env.setdefault("API_GATEWAY_HOST", "0.0.0.0")
    with ExitStack() as probes:  # both held until both are known, so that two free ones differ
        for name, default in PORTS.items():
            host_name = name.removesuffix("PORT") + "HOST"
            text = env.get(name, default)
            env[name] = _free_port(probes, name, text, host_name, env[host_name])
    if env["API_GATEWAY_PORT"] == env["SERVICE_PORT"]:
        raise CannotRun("SERVICE_PORT and API_GATEWAY_PORT are the same; give each its own")
    env.setdefault("MODEL_URL", f"http://{_reachable(env['SERVICE_HOST'])}:{env['SERVICE_PORT']}")
    return env


def base_url(env: Mapping[str, str]) -> str:
    """Where this machine reaches the gateway."""
    return f"http://{_reachable(env['API_GATEWAY_HOST'])}:{env['API_GATEWAY_PORT']}"


def greeting(base: str, env: Mapping[str, str]) -> str:
    """How to use what runs: address, key, and a curl line that works when pasted."""
    key = env.get("API_KEY", "change-me")
    models = env.get("ALLOWED_MODELS") or env["WHISPER_MODELS"]
    model = models.split(",")[0].partition("@")[0].strip()
    curl = ["curl", f"{base}/transcribe/{model}"]
    if key:
        curl += ["-H", f"Authorization: Bearer {key}"]
    curl += ["-F", f"file=@{SAMPLE}"]
    return (
        f"\n  Ready at  {base}  (OpenAI clients: {base}/v1)"
        f"\n  API key   {key or '(none: anyone may use it)'}"
        f"\n  Try       {shlex.join(curl)}"
        f"\n  Docs      {base}/docs"
        "\n  Stop      Ctrl-C\n"
    )


def _reachable(host: str) -> str:
    """The address, as it stands in a URL, under which this machine reaches what listens on `host`."""
    near = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)
    return f"[{near}]" if ":" in near else near


def _free_port(probes: ExitStack, name: str, text: str, host_name: str, host: str) -> str:
    """The port of that setting once it is known to be free at that host; 0 takes any that is."""
    if not text.isdecimal() or int(text) > 65535:
        raise CannotRun(f"{name}={text} is not a port")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        probe = probes.enter_context(socket.socket(family))
        if int(text):  # as the services do: a port that has just been left can be taken
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, int(text)))
    except OSError as exc:
        is_about_port = exc.errno in (errno.EADDRINUSE, errno.EACCES)
        what, setting = (f"port {text}", name) if is_about_port else (host, host_name)
        raise CannotRun(
            f"{what} cannot be used ({exc.strerror}); set {setting} to another"
        ) from exc
    return str(probe.getsockname()[1])


def _start(name: str, folder: Path, env: Mapping[str, str]) -> Service:
    # A session of its own: a Ctrl-C in the terminal then reaches only this process, which stops
    # the services in their order.
    process = subprocess.Popen(
        [sys.executable, "-m", "app.main"],
        cwd=folder,
        env=dict(env),
        start_new_session=True,
        preexec_fn=_die_with_parent,
    )
    return Service(name, process)


def _wait(stop: StopSignal, services: list[Service], done: Callable[[], bool]) -> None:
    """Return when `done` or told to stop; CannotRun as soon as a service has ended by itself."""
    while not stop.came and not done():
        for service in services:
            status = service.process.poll()
            if status is not None and not stop.came:
                raise CannotRun(
                    f"the {service.name} ended with exit status {status} (its log is above)"
                )
        time.sleep(LOOK_SECONDS)


def _is_ready(base: str) -> bool:
    # No proxy of the environment stands between this machine and itself.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(f"{base}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _stop(stop: StopSignal, services: list[Service]) -> None:
    """End the services, the gateway first, so that it takes no work that the worker would drop."""
    for service in reversed(services):
        process = service.process
        process.terminate()
        deadline = time.monotonic() + STOP_SECONDS
        while process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
            elif stop.interrupts > 1:
                process.send_signal(signal.SIGINT)  # uvicorn then waits for no request
            time.sleep(LOOK_SECONDS)


def _die_with_parent() -> None:
    """Ask Linux for SIGTERM when the parent dies, so that even `kill -9` leaves nothing running."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


def _make_was_interrupted() -> bool:
    """Whether the parent, GNU make, holds a SIGINT that only it was sent.

    It passes SIGTERM on to its children, but expects SIGINT to have reached them from the terminal:
    it blocks the signal and waits for them. This is how a script's `kill -INT` is noticed.
    """
    try:
        status = Path(f"/proc/{os.getppid()}/status").read_text()
    except OSError:
        return False
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigBlk:"))
    return bool(int(mask, 16) & 1 << (signal.SIGINT - 1))


if __name__ == "__main__":
    sys.exit(main())
