"""docs/conformance.md lists what the tests show, and nothing that no test shows."""

import importlib.util

from house import ROOT


def test_the_published_list_is_what_the_tests_show() -> None:
    spec = importlib.util.spec_from_file_location(
        "conformance_lines", ROOT / "tests" / "conformance" / "lines.py"
    )
    assert spec is not None
    assert spec.loader is not None
    lines = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(lines)
    assert len(lines.LINES) == 82
    assert "".join(lines.rows()) in (ROOT / "docs" / "conformance.md").read_text()
