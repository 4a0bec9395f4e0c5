"""What the samples in deploy/ say; they are read, since the tests run neither proxies nor systemd."""

import configparser

from house import ROOT

from tools.serve import STOP_SECONDS


def test_caddy_tells_the_gateway_that_a_client_has_left() -> None:
    """With a negative `flush_interval` Caddy lets the request behind it run on without its client."""
    lines = (ROOT / "deploy" / "Caddyfile").read_text().splitlines()
    directives = {line.split()[0] for line in lines if line.strip() and line.split()[0] != "#"}
    assert "reverse_proxy" in directives
    assert "flush_interval" not in directives


def test_systemd_starts_what_make_run_does_and_waits_for_both_services_to_end() -> None:
    unit = configparser.ConfigParser()
    unit.optionxform = str  # type: ignore[assignment, method-assign]
    unit.read(ROOT / "deploy" / "transcription.service")
    service = unit["Service"]
    python, script = service["ExecStart"].split()
    assert python == f"{service['WorkingDirectory']}/.venv/bin/python"
    assert (ROOT / script).is_file()
    assert service["KillMode"] == "mixed"
    assert int(service["TimeoutStopSec"]) > 2 * STOP_SECONDS
