"""Alignment heads for models whose config names none that they have.

Which heads of the decoder tell where words are stands in a model's `config.json`. Distilled models
often keep those of their teacher, in layers beyond their own two or four, and CTranslate2 then reads
memory that is not its own and ends the process (SYSTRAN/faster-whisper#688). Such models get what
OpenAI gives models without measured heads: all heads of the upper half of the layers.
"""

import json
import logging
import mmap
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

log = logging.getLogger(__name__)

FEATURES_OF_A_HEAD = 64  # in every Whisper
_LAYER = b"decoder/layer_%d/"
_EMBEDDINGS = b"decoder/embeddings/weight\0"
"""A variable of CTranslate2's `model.bin`: its name, its rank (a byte), its sizes (4 bytes each). It
stands near the beginning."""


def with_own_heads(name: str, directory: Path) -> "TemporaryDirectory[str] | None":
    """A folder that stands for `directory` with heads that the model has; None where it needs none.

    It holds links, and a config of its own; it goes when it is closed or forgotten.
    """
    file = directory / "config.json"
    config: dict[str, Any] = json.loads(file.read_text()) if file.is_file() else {}
    if not config or not (directory / "model.bin").is_file():
        return None  # CTranslate2 says what is missing
    size = _decoder_size(directory / "model.bin", config.get("alignment_heads") or [])
    if size is None:
        return None
    layers, heads = size
    upper_half = [[n, head] for n in range(layers // 2, layers) for head in range(heads)]
    log.warning("%s names alignment heads that it does not have: takes the upper half's", name)
    stand_in = TemporaryDirectory(prefix="whisper-heads-")
    for path in directory.iterdir():
        if path != file:
            (Path(stand_in.name) / path.name).symlink_to(path.resolve())
    changed = json.dumps(config | {"alignment_heads": upper_half})
    (Path(stand_in.name) / file.name).write_text(changed)
    return stand_in


def _decoder_size(model: Path, named: list[list[int]]) -> tuple[int, int] | None:
    """Layers and heads of the decoder; None when it has all that are `named`, and when it is not known."""
    with (
        model.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
    ):
        at = content.find(_EMBEDDINGS)
        if at < 0:
            return None
        _, _, width = struct.unpack_from("<BII", content, at + len(_EMBEDDINGS))
        heads = width // FEATURES_OF_A_HEAD
        # The highest is looked for first: where it is there, the file is not read to its end.
        highest = max((layer for layer, _ in named), default=-1)
        has_all = highest >= 0 and all(head < heads for _, head in named)
        if has_all and content.find(_LAYER % highest) >= 0:
            return None
        layers = 0
        while content.find(_LAYER % layers) >= 0:
            layers += 1
        return layers, heads
