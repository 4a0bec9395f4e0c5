"""A `config.json` that CTranslate2 can use, for models whose own names what they have not, or lacks a part.

Which heads of the decoder tell where words are stands there. Distilled models often keep those of their
teacher, in layers beyond their own two or four, and CTranslate2 then reads memory that is not its own and
ends the process (SYSTRAN/faster-whisper#688). Such models get what OpenAI gives models without measured heads:
all heads of the upper half of the layers. Older and hand-made conversions lack lists that it takes for granted.
"""

import json
import logging
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from .languages import LANGUAGES
from .shape import Shape

log = logging.getLogger(__name__)


def with_own_config(
    name: str, directory: Path, shape: Shape | None
) -> "TemporaryDirectory[str] | None":
    """A folder that stands for `directory` with a config that fits the model; None where it needs none.

    It holds links, and a config of its own; it goes when it is closed or forgotten.
    """
    file = directory / "config.json"
    config = _read(file)
    if not config or shape is None:
        return None  # CTranslate2 says what is missing or wrong
    changes = _lists(directory, config)
    layers, heads = shape.decoder_layers, shape.heads
    named = config.get("alignment_heads") or []
    if not named or not all(layer < layers and head < heads for layer, head in named):
        upper_half = [[n, head] for n in range(layers // 2, layers) for head in range(heads)]
        log.warning("%s names alignment heads that it does not have: takes the upper half's", name)
        changes["alignment_heads"] = upper_half
    if not changes:
        return None
    stand_in = TemporaryDirectory(prefix="whisper-config-")
    for path in directory.iterdir():
        if path != file:
            (Path(stand_in.name) / path.name).symlink_to(path.resolve())
    (Path(stand_in.name) / file.name).write_text(json.dumps(config | changes))
    return stand_in


def _lists(directory: Path, config: dict[str, Any]) -> dict[str, Any]:
    """What lists of tokens the config lacks."""
    missing: dict[str, Any] = {
        key: [] for key in ("suppress_ids", "suppress_ids_begin") if config.get(key) is None
    }
    if not config.get("lang_ids"):
        missing["lang_ids"] = _language_tokens(directory)
    return missing


def _language_tokens(directory: Path) -> list[int]:
    codes = {f"<|{code}|>" for code in LANGUAGES}
    tokens = _read(directory / "tokenizer.json").get("added_tokens", [])
    return [token["id"] for token in tokens if token["content"] in codes]


def _read(file: Path) -> dict[str, Any]:
    """What stands in a file; nothing where there is none, or one that is damaged."""
    try:
        config = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}
