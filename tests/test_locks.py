"""What is tested is what is shipped: a lock gives every Python that we support the same versions."""

import re
from pathlib import Path

import pytest
from house import ROOT
from packaging.requirements import Requirement

PYTHONS = ("3.11", "3.12", "3.13", "3.14")
LOCKS = [*sorted(ROOT.glob("*/requirements*.txt")), ROOT / "tools/micro_model/requirements.txt"]


def pinned(lock: str, python: str) -> dict[str, str]:
    requirements = (
        Requirement(line) for line in re.findall(r"^[a-z].*?(?= \\$)", lock, re.MULTILINE)
    )
    on = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    return {
        one.name: str(one.specifier)
        for one in requirements
        if one.marker is None or one.marker.evaluate(on)
    }


@pytest.mark.parametrize("path", LOCKS, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_python_gets_the_same_versions(path: Path) -> None:
    first, *others = (pinned(path.read_text(), python) for python in PYTHONS)
    assert first
    for other in others:
        assert first | other == other | first


@pytest.mark.parametrize("service", ["api-gateway", "whisper-service"])
def test_a_service_ships_the_versions_that_the_tests_install(service: str) -> None:
    tested, shipped = (
        pinned((ROOT / folder / "requirements.txt").read_text(), "3.12")
        for folder in ("tests", service)
    )
    assert {name: version for name, version in shipped.items() if tested.get(name) != version} == {}
