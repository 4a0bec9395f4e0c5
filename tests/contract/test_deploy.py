"""What the samples in deploy/ must not say; they are read, since the tests run no proxy."""

from house import ROOT


def test_caddy_tells_the_gateway_that_a_client_has_left() -> None:
    """With a negative `flush_interval` Caddy lets the request behind it run on without its client."""
    lines = (ROOT / "deploy" / "Caddyfile").read_text().splitlines()
    directives = {line.split()[0] for line in lines if line.strip() and line.split()[0] != "#"}
    assert "reverse_proxy" in directives
    assert "flush_interval" not in directives
