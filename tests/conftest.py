"""Fixtures of all tests; importing `house` makes both services importable (see there)."""

import house  # noqa: F401
