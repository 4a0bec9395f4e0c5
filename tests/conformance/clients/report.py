"""What every client is given, and how it says what it found."""

import json
import os
from pathlib import Path

URL, KEY, FILE = os.environ["BASE_URL"], os.environ["API_KEY"], os.environ["FILE"]
AUDIO = Path(FILE).read_bytes()
TEXT = os.environ["TEXT"]


def report(client: str, checks: dict[str, bool]) -> None:
    """Print the client with its version and what was seen to be true or not."""
    print(json.dumps({"client": client, "checks": checks}))
