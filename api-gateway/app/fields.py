"""Form fields as clients write them: `x`, `x[]`, `x[0]`, `x[y]`, a comma list, or JSON in a string.

A form knows neither lists nor objects, so every client has its own way of writing them; all of them
are read here. An empty value always means that the field is unset.
"""

import json
import re
from typing import Any

from .errors import InvalidRequest, UnknownParameter
from .multipart import MAX_FIELD_BYTES
from .wire import MAX_KEYS, Options, read_options

GATEWAYS_OWN = frozenset({"tenant", "priority"})
"""Options of the worker that no client may set: who it is and how urgent is not its own to say."""
MAX_ITEMS = 10_000
"""Of a list: each takes many times the memory of its letters."""


class OptionFields:
    """The worker's options as the plain fields of a form: each once, and none that is unknown."""

    def __init__(self) -> None:
        self.fields: dict[str, str] = {}

    def knows(self, name: str) -> bool:
        """Whether there is such an option."""
        return name in Options.model_fields.keys() - GATEWAYS_OWN

    def max_bytes(self, _: str) -> int:
        """How large a field may be."""
        return MAX_FIELD_BYTES

    def add(self, name: str, value: str) -> None:
        """Take one field, or raise for what is wrong with it."""
        if name in GATEWAYS_OWN:
            raise UnknownParameter(f"Unknown parameter: '{name}'", param=name)
        if name in self.fields:
            raise InvalidRequest(f"'{name}' was sent twice", param=name)
        self.check(read_options({name: value}))
        self.fields[name] = value

    def check(self, options: Options) -> None:
        """Raise for an option that means nothing to the route."""

    def options(self) -> Options:
        """What the fields so far ask for."""
        return read_options(self.fields)


_NAME = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")


def split_name(name: str) -> tuple[str, str]:
    """A field's name without its brackets, and these."""
    match = _NAME.fullmatch(name)
    return (match[1], match[2]) if match else (name, "")


class Fields:
    """The fields of one form in the order in which they arrived."""

    def __init__(self) -> None:
        self._values: dict[str, list[tuple[tuple[str, ...], str]]] = {}
        self._read: set[str] = set()

    def add(self, name: str, value: str) -> None:
        """Take one field as it stands in the form; a browser writes `null` for what is unset."""
        root, keys = split_name(name)
        values = self._values.setdefault(root, [])
        if (value := value.strip()) not in ("", "null"):
            values.append((tuple(re.findall(r"\[([^\[\]]*)\]", keys)), value))

    def unread(self) -> list[str]:
        """Names, without brackets, of the fields that nobody has asked for."""
        return [name for name in self._values if name not in self._read]

    def text(self, name: str) -> str | None:
        """A single value; InvalidRequest when it was sent twice or as a list or object."""
        values = self._take(name)
        if len(values) > 1:
            raise InvalidRequest(f"'{name}' was sent twice", param=name)
        if values and values[0][0]:
            raise InvalidRequest(f"'{name}' is a single value", param=name)
        return values[0][1] if values else None

    def texts(self, name: str, *, by_commas: bool = True, are_words: bool = False) -> list[str]:
        """A list: bracketed items as they are, a bare value as JSON or cut at commas.

        A bare name that comes again is one item each time, as the Ruby SDK writes lists. Items that
        `are_words` hold no comma, so that each of them may be a list itself.
        """
        items: list[str] = []
        values = self._take(name)
        for keys, value in values:
            if keys not in ((), ("",)) and not (len(keys) == 1 and keys[0].isdecimal()):
                raise InvalidRequest(f"'{name}' is a list, not an object", param=name)
            is_item = (keys or len(values) > 1) and not are_words
            # Counted before they are made; an item's own commas would have to be very many.
            if len(items) + (0 if is_item else value.count(",")) >= MAX_ITEMS:
                raise InvalidRequest(f"'{name}' has more than {MAX_ITEMS} items", param=name)
            if is_item:
                items.append(value)
            elif (listed := _json_list(value)) is not None:
                items += listed
            else:
                items += value.split(",") if by_commas else [value]
        return [item.strip() for item in items if item.strip()]

    def option_list(self, name: str) -> str | list[str]:
        """A list for `read_options`: one bare value as it came, to be read as on the other routes."""
        match self._take(name):
            case [((), value)]:
                return value
            case _:
                return self.texts(name, are_words=True) or ""

    def mapping(self, name: str) -> str | dict[str, Any] | None:
        """An object from `name[key]` fields or from JSON; else the bare word."""
        found: dict[str, Any] = {}
        fields = self._take(name)
        if len(fields) > 1 and any(not keys for keys, _ in fields):
            raise InvalidRequest(f"'{name}' was sent twice", param=name)
        for keys, value in fields:
            match keys:
                case ():
                    return _json_object(name, value)
                case (key,) if key and key not in found:
                    found[key] = value
                case _:
                    raise InvalidRequest(f"'{name}' cannot be understood", param=name)
        return found or None

    def _take(self, name: str) -> list[tuple[tuple[str, ...], str]]:
        self._read.add(name)
        return self._values.get(name, [])


def _json_list(value: str) -> list[str] | None:
    """The words of a JSON list, numbers among them; None for what is none, as a keyword in brackets."""
    if not value.startswith("["):
        return None
    try:
        items = json.loads(value)
    except (ValueError, RecursionError):
        return None
    words = (str, int, float)
    if not isinstance(items, list) or not all(type(item) in words for item in items):
        return None
    return [str(item) for item in items]


def _json_object(name: str, value: str) -> str | dict[str, Any]:
    if not value.startswith("{"):
        return value
    found: dict[str, Any] = _json(name, value)
    if len(found) > MAX_KEYS:
        raise InvalidRequest(f"'{name}' has too many keys", param=name)
    return found


def _json(name: str, value: str) -> Any:
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as exc:
        raise InvalidRequest(f"'{name}' is not valid JSON", param=name) from exc
