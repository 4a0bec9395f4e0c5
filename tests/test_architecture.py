"""The house rules on imports, held by reading the code: who may import whom, and what from outside."""

import ast
import sys
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from house import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

SERVICES = {"gateway": ROOT / "api-gateway" / "app", "worker": ROOT / "whisper-service" / "app"}
SHARED = [
    "edge.py", "errors.py", "languages.py", "logs.py", "multipart.py", "scripts.py", "sentence_ends.py", "server.py", "setting_types.py", "wire.py",
]  # fmt: skip

LAYERS = {
    "gateway": [
        {"languages", "errors", "scripts", "sentence_ends", "setting_types"},
        {"wire", "multipart"},
        {"settings", "edge", "fields", "formats", "logs"},
        {"openai_form", "server", "sse"},
        {"worker", "uploads", "middleware"},
        {"auth"},
        {"deps"},
        {"routes"},
        {"main"},
    ],
    "worker": [
        {"languages", "errors", "scripts", "sentence_ends", "setting_types", "closing"},
        {"wire"},
        {"settings", "edge", "logs"},
        {"multipart", "server"},
        {"audio", "uploads"},
        {"vad", "mel", "shape", "machine"},
        {"model_config", "windows", "hub"},
        {"engine"},
        {"scheduler"},
        {"decoding"},
        {"models"},
        {"transcribe"},
        {"lines"},
        {"routes", "health"},
        {"main"},
    ],
}

ONLY_THERE = {
    "gateway": {"httpx": {"worker"}, "av": set(), "ctranslate2": set(), "faster_whisper": set()},
    "worker": {
        "httpx": set(),
        "av": {"audio"},
        "ctranslate2": {"engine", "hub", "machine"},
        "faster_whisper": {"decoding", "hub", "vad", "mel"},
    },
}


def _modules(service: str) -> list[Path]:
    service_itself = SERVICES[service] / "__init__.py"
    return sorted(path for path in SERVICES[service].rglob("*.py") if path != service_itself)


def _unit(service: str, path: Path) -> str:
    """The module or folder of the service that a file belongs to."""
    return path.relative_to(SERVICES[service]).parts[0].removesuffix(".py")


def _imports(path: Path) -> list[tuple[int, str]]:
    found: list[tuple[int, str]] = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found += [(0, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            if node.module is None:
                found += [(node.level, alias.name) for alias in node.names]
            else:
                found.append((node.level, node.module))
    return found


@pytest.mark.parametrize("service", SERVICES)
def test_modules_import_only_downwards(service: str) -> None:
    rank = {name: level for level, names in enumerate(LAYERS[service]) for name in names}
    offenders = []
    for path in _modules(service):
        unit = _unit(service, path)
        assert unit in rank, f"{service}: {unit} has no layer; give it one in this test"
        depth = len(path.relative_to(SERVICES[service]).parts)
        for level, module in _imports(path):
            target = module.split(".")[0]
            if level == depth and target != unit and rank.get(target, 99) >= rank[unit]:
                offenders.append(f"{service}: {unit} imports {target}")
    assert offenders == []


@pytest.mark.parametrize("service", SERVICES)
def test_libraries_are_imported_only_at_their_border(service: str) -> None:
    offenders = [
        f"{service}: {path.name} imports {module}"
        for path in _modules(service)
        for level, module in _imports(path)
        if level == 0
        and _unit(service, path)
        not in ONLY_THERE[service].get(module.split(".")[0], {_unit(service, path)})
    ]
    assert offenders == []


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_imported_is_asked_for_by_name(service: str) -> None:
    """Not had by chance, because something else needs it too."""
    imported = {
        module.split(".")[0]
        for path in _modules(service)
        for level, module in _imports(path)
        if level == 0
    }
    from_outside = imported - sys.stdlib_module_names
    short_list = (SERVICES[service].parent / "requirements.in").read_text()
    named = {canonicalize_name(Requirement(line).name) for line in _lines(short_list)}
    brought_by = packages_distributions()
    known = {name: {canonicalize_name(one) for one in brought_by[name]} for name in from_outside}
    assert {name for name, brought in known.items() if not brought & named} == set()


def _lines(short_list: str) -> list[str]:
    lines = [line.partition("#")[0].strip() for line in short_list.splitlines()]
    return [line for line in lines if line]


@pytest.mark.parametrize("service", SERVICES)
def test_pure_modules_know_no_framework(service: str) -> None:
    offenders = [
        f"{service}: {path.name} imports {module}"
        for path in _modules(service)
        if _unit(service, path) in {"wire", "formats", "windows", "errors", "languages"}
        for level, module in _imports(path)
        if level == 0 and module.split(".")[0] in {"fastapi", "starlette", "httpx", "uvicorn"}
    ]
    assert offenders == []


@pytest.mark.parametrize("name", SHARED)
def test_the_gateway_holds_the_workers_shared_files_byte_for_byte(name: str) -> None:
    assert (SERVICES["gateway"] / name).read_bytes() == (SERVICES["worker"] / name).read_bytes()
