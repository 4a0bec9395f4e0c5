"""What the log leaves out."""

import logging

import pytest
from worker.logs import FLOOD_SECONDS, _NoFlood, configure_logging


def test_that_no_connection_can_be_opened_is_told_once_a_minute() -> None:
    flood = _NoFlood()

    def is_told(text: str, at: float) -> bool:
        record = logging.makeLogRecord({"msg": text, "created": at})
        return flood.filter(record)

    full = "socket.accept() out of system resource\nsocket: <socket.socket fd=7>"
    told = [is_told(full, at) for at in (5.0, 5.1, FLOOD_SECONDS + 4, FLOOD_SECONDS + 5)]
    assert told == [True, False, False, True]
    assert is_told("another", 5.0)
    assert is_told("another", 5.0)


@pytest.mark.parametrize("name", ["httpcore", "httpx"])
def test_libraries_do_not_tell_what_was_sent_at_any_level(name: str) -> None:
    root = logging.getLogger()
    level, handlers = root.level, root.handlers[:]
    root.handlers.clear()
    try:
        configure_logging("DEBUG")
        assert not logging.getLogger(f"{name}.http11").isEnabledFor(logging.INFO)
    finally:
        root.setLevel(level)
        root.handlers[:] = handlers
