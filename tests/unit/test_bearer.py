"""Whether a key that is shown is the one that is wanted, as FastAPI hands it over."""

import asyncio

import pytest
from fastapi import Request
from fastapi.security import HTTPBearer
from gateway.edge import check_bearer
from gateway.errors import InvalidKey
from pydantic import SecretStr


def check(shown: str, wanted: str) -> None:
    headers = [(b"authorization", f"Bearer {shown}".encode())]
    request = Request({"type": "http", "headers": headers})
    check_bearer(asyncio.run(HTTPBearer(auto_error=False)(request)), SecretStr(wanted))


@pytest.mark.parametrize("key", ["key", "cl\u00e9", "cl\u00e0", "\u00c5", "\u00e0\u00e0", "to ken"])
def test_a_key_of_any_letters_is_known_also_where_its_last_byte_is_a_blank_in_latin_1(
    key: str,
) -> None:
    check(key, key)
    with pytest.raises(InvalidKey):
        check(f"{key}x", key)
    with pytest.raises(InvalidKey):
        check("\u00e8", key)
