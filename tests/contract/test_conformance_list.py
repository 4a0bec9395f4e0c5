"""docs/conformance.md lists what the tests show, and nothing that no test shows."""

from conformance import lines
from house import ROOT


def test_the_published_list_is_what_the_tests_show() -> None:
    assert len(lines.LINES) == 82
    assert "".join(lines.rows()) in (ROOT / "docs" / "conformance.md").read_text()
