"""Where things are, and both services importable in one process under two names.

Both call their package `app`, as their images expect; one process cannot hold two packages of one
name, so here they are loaded as `gateway` and `worker`.
"""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
DATA = Path(__file__).parent / "data"
MICRO = ROOT / "whisper-service" / "models" / "micro"
"""The directory of the model that ships."""
CLIP = DATA / "short" / "en-1.wav"
"""Two seconds in which one sentence is said."""
SPEECH = CLIP.read_bytes()


def _load(name: str, folder: Path) -> None:
    spec = importlib.util.spec_from_file_location(
        name, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)


_load("gateway", ROOT / "api-gateway" / "app")
_load("worker", ROOT / "whisper-service" / "app")
