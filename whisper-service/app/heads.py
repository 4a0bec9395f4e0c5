"""Alignment heads for models whose config names none that they have.

Which heads of the decoder tell where words are stands in a model's `config.json`. Distilled models
often keep those of their teacher, in layers beyond their own two or four, and CTranslate2 then reads
memory that is not its own and ends the process (SYSTRAN/faster-whisper#688). Such models get what
OpenAI gives models without measured heads: all heads of the upper half of the layers.
"""

import json
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .shape import Shape

log = logging.getLogger(__name__)


def with_own_heads(
    name: str, directory: Path, shape: Shape | None
) -> "TemporaryDirectory[str] | None":
    """A folder that stands for `directory` with heads that the model has; None where it needs none.

    It holds links, and a config of its own; it goes when it is closed or forgotten.
    """
    file = directory / "config.json"
    config = _read(file)
    if not config or shape is None:
        return None  # CTranslate2 says what is missing or wrong
    layers, heads = shape.decoder_layers, shape.heads
    named = config.get("alignment_heads") or []
    if named and all(layer < layers and head < heads for layer, head in named):
        return None
    upper_half = [[n, head] for n in range(layers // 2, layers) for head in range(heads)]
    log.warning("%s names alignment heads that it does not have: takes the upper half's", name)
    stand_in = TemporaryDirectory(prefix="whisper-heads-")
    for path in directory.iterdir():
        if path != file:
            (Path(stand_in.name) / path.name).symlink_to(path.resolve())
    changed = json.dumps(config | {"alignment_heads": upper_half})
    (Path(stand_in.name) / file.name).write_text(changed)
    return stand_in


def _read(file: Path) -> dict[str, Any]:
    """What stands in a config; nothing where there is none, or one that is damaged."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
