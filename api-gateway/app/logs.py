"""Logging of both services: one format, to standard error, and never a transcript or a key.

The worker owns this file; the gateway holds a byte-for-byte copy, checked by a test.
"""

import logging

FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
TIME = "%Y-%m-%dT%H:%M:%S%z"


def configure_logging(level: str) -> None:
    """Send everything at `level` or above to standard error."""
    logging.basicConfig(level=level.upper(), format=FORMAT, datefmt=TIME, force=True)
    # These log each request at INFO; our own line says more. The hub's client uses httpx2.
    for name in ("httpx", "httpx2", "faster_whisper"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # What is wrong with a form is told to who sent it.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
