"""Logging of both services: one format, to standard error, and never a transcript or a key.

The worker owns this file; the gateway holds a byte-for-byte copy, checked by a test.
"""

import logging
import math

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
TIME = "%Y-%m-%dT%H:%M:%S%z"
FLOOD_SECONDS = 60.0


class _NoFlood(logging.Filter):
    """Lets asyncio tell once in FLOOD_SECONDS that no further connection can be opened; it does so thousands of times."""

    _last = -math.inf

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a record is written."""
        if not record.getMessage().startswith("socket.accept() out of system resource"):
            return True
        is_due = record.created >= self._last + FLOOD_SECONDS
        if is_due:
            self._last = record.created
        return is_due


def configure_logging(level: str) -> None:
    """Send everything at `level` or above to standard error."""
    logging.basicConfig(level=level.upper(), format=FORMAT, datefmt=TIME, force=True)
    # These log each request at INFO, httpcore at DEBUG what a client has sent; our own line says more. The
    # hub's client uses httpx2.
    for name in ("httpx", "httpx2", "httpcore", "faster_whisper"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("asyncio").addFilter(_NoFlood())
    # What is wrong with a form is told to who sent it.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
