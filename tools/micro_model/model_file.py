"""Reads and writes `model.bin`, CTranslate2's file of named arrays, with numpy alone.

The layout (binary version 6) is the one of `ctranslate2/specs/model_spec.py`: a header, the variables in
alphabetical order, then aliases (names that share another variable's array). Quantized weights are int8
with a variable `<name>_scale` beside them: weight = int8 / scale, one scale for each output row.
"""

import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

BINARY_VERSION = 6
DTYPES = ("float32", "int8", "int16", "int32", "float16")  # CTranslate2's type ids, in order

Variables = dict[str, NDArray[Any]]


@dataclass
class ModelFile:
    """The contents of a `model.bin`: which specification, its variables and its aliases."""

    specification: str
    revision: int
    variables: Variables
    aliases: dict[str, str] = field(default_factory=dict)

    def weight(self, name: str) -> NDArray[np.float32]:
        """Return a variable as float32, dequantized where it is int8, following aliases."""
        name = self.aliases.get(name, name)
        stored = self.variables[name].astype(np.float32)
        scale = self.variables.get(f"{name}_scale")
        if scale is None:
            return stored
        rows = scale.astype(np.float32).reshape(-1, *[1] * (stored.ndim - 1))
        return stored / rows


def layers_of(variables: Variables, side: str) -> int:
    """Return how many layers the encoder or the decoder has."""
    found = (re.match(rf"{side}/layer_(\d+)/", name) for name in variables)
    return len({match[1] for match in found if match})


def read_model(path: Path) -> ModelFile:
    """Read a `model.bin`.

    Raises:
        ValueError: when the file is of another binary version.
    """
    with path.open("rb") as file:
        (version,) = _read(file, "I")
        if version != BINARY_VERSION:
            raise ValueError(f"{path}: binary version {version}, this reads {BINARY_VERSION}")
        specification, (revision, count) = _read_text(file), _read(file, "II")
        variables = dict(_read_variable(file) for _ in range(count))
        (count,) = _read(file, "I")
        aliases = {_read_text(file): _read_text(file) for _ in range(count)}
    return ModelFile(specification, revision, variables, aliases)


def write_model(model: ModelFile, path: Path) -> None:
    """Write a `model.bin` that CTranslate2 loads."""
    with path.open("wb") as file:
        file.write(struct.pack("<I", BINARY_VERSION))
        _write_text(file, model.specification)
        file.write(struct.pack("<II", model.revision, len(model.variables)))
        for name, array in sorted(model.variables.items()):
            _write_text(file, name)
            type_id = DTYPES.index(array.dtype.name)
            layout = f"<B{array.ndim}IBI"
            file.write(struct.pack(layout, array.ndim, *array.shape, type_id, array.nbytes))
            np.ascontiguousarray(array).tofile(file)
        file.write(struct.pack("<I", len(model.aliases)))
        for alias, name in sorted(model.aliases.items()):
            _write_text(file, alias)
            _write_text(file, name)


def _read(file: BinaryIO, layout: str) -> tuple[int, ...]:
    return struct.unpack(f"<{layout}", file.read(struct.calcsize(f"<{layout}")))


def _read_text(file: BinaryIO) -> str:
    (size,) = _read(file, "H")
    return file.read(size)[:-1].decode()  # the size counts a closing zero


def _write_text(file: BinaryIO, text: str) -> None:
    encoded = text.encode() + b"\0"
    file.write(struct.pack("<H", len(encoded)) + encoded)


def _read_variable(file: BinaryIO) -> tuple[str, NDArray[Any]]:
    name, (rank,) = _read_text(file), _read(file, "B")
    *shape, type_id, size = _read(file, f"{rank}IBI")
    array = np.frombuffer(file.read(size), dtype=DTYPES[type_id]).reshape(shape)
    return name, array
