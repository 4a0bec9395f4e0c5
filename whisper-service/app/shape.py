"""The shape of a model: its layers and heads, told by the names in CTranslate2's `model.bin`.

The layout is that of `ctranslate2/specs/model_spec.py`, version 4 and later: a version, a specification and
its revision, then each variable's name, sizes, type and bytes. The bytes are passed over, so this takes no time.
"""

import re
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

FEATURES_OF_A_HEAD = 64  # in every Whisper
ENCODER_POSITIONS = 1500  # of 20 ms
TEXT_TOKENS = 224  # of a window at most, which hardly any has
USUAL_TEXTS = 5
"""At once for a window, beams or samples: batches are as large as fits with so many."""
_VERSIONS = range(4, 7)
_LAYER = re.compile(r"(encoder|decoder)/layer_(\d+)/")


@dataclass(frozen=True, slots=True)
class Shape:
    """What is known of a Whisper network."""

    encoder_layers: int
    decoder_layers: int
    heads: int
    """Of each decoder layer."""
    tokens: int
    """Rows of the decoder's table, one for each token."""

    @property
    def window_bytes(self) -> int:
        """What a window takes in the decoder in float32: keys and values, of the encoder's output and of texts."""
        positions = ENCODER_POSITIONS + USUAL_TEXTS * TEXT_TOKENS
        return 2 * 4 * self.decoder_layers * positions * self.heads * FEATURES_OF_A_HEAD

    @property
    def is_cut_short(self) -> bool:
        """Whether the decoder has lost layers, as those of turbo and distilled models, which do not translate."""
        return self.decoder_layers < self.encoder_layers


def read_shape(model: Path) -> Shape | None:
    """Read the shape of a `model.bin`; None where the file is none, or of a layout that is not known."""
    try:
        with model.open("rb") as file:
            sizes = _sizes(file)
    except (OSError, struct.error, UnicodeDecodeError):
        return None
    table = sizes.get("decoder/embeddings/weight", [])
    found = {(part, int(layer)) for name in sizes for part, layer in _LAYER.findall(name)}
    encoder, decoder = (sum(part == side for part, _ in found) for side in ("encoder", "decoder"))
    if len(table) != 2 or not encoder or not decoder:
        return None
    tokens, width = table
    return Shape(encoder, decoder, heads=width // FEATURES_OF_A_HEAD, tokens=tokens)


def _sizes(file: BinaryIO) -> dict[str, list[int]]:
    """The sizes of each variable."""
    (version,) = _read(file, "I")
    if version not in _VERSIONS:
        return {}
    _name(file)
    _, count = _read(file, "II")
    sizes = {}
    for _ in range(count):
        name, (rank,) = _name(file), _read(file, "B")
        sizes[name] = list(_read(file, f"{rank}I"))
        _, length = _read(file, "BI")
        file.seek(length, 1)
    return sizes


def _read(file: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(f"<{layout}", file.read(struct.calcsize(f"<{layout}")))


def _name(file: BinaryIO) -> str:
    (length,) = _read(file, "H")
    return file.read(length)[:-1].decode()  # the length counts a closing zero
