"""What the gateway says where the worker cannot be reached."""

import asyncio
import errno
from types import SimpleNamespace
from typing import Any, cast

import httpx
import pytest
from gateway.errors import Overloaded, ServiceError, WorkerUnreachable
from gateway.worker import Worker


@pytest.mark.parametrize(
    ("number", "error", "message"),
    [
        (errno.ECONNREFUSED, WorkerUnreachable, "The model service cannot be reached"),
        (errno.EMFILE, Overloaded, "There are as many open files as there may be"),
    ],
)
@pytest.mark.parametrize("is_of_many", [False, True], ids=["one address", "two addresses"])
def test_a_lack_of_files_is_not_blamed_on_the_worker(
    number: int, error: type[ServiceError], message: str, is_of_many: bool
) -> None:
    one: BaseException = OSError(number, "no")
    cause = ExceptionGroup("all failed", [OSError(number, "no"), OSError(number, "no")])

    async def fail(request: httpx.Request) -> httpx.Response:
        failed = OSError("All connection attempts failed")
        failed.__cause__ = cause if is_of_many else one
        raise httpx.ConnectError("All connection attempts failed") from failed

    async def ask() -> None:
        transport = httpx.MockTransport(fail)
        async with httpx.AsyncClient(transport=transport, base_url="http://worker") as client:
            await Worker(client, cast("Any", SimpleNamespace())).models()

    with pytest.raises(error, match=message) as caught:
        asyncio.run(ask())
    assert type(caught.value) is error
