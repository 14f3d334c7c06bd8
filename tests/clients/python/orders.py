"""The Python drivers' side of a life: orders come in as lines of JSON, each is answered with one. See life/orders.mjs."""

import json
import sys
import time
from typing import Any, Protocol

import anyio


class Driver(Protocol):
    """What the orders ask for."""

    async def connect(self, order: dict[str, Any]) -> Any: ...
    async def call(self, order: dict[str, Any]) -> Any: ...
    async def stream(self, order: dict[str, Any]) -> Any: ...
    async def expire(self, order: dict[str, Any]) -> Any: ...
    async def forget(self, order: dict[str, Any]) -> Any: ...
    async def close(self, order: dict[str, Any]) -> Any: ...


async def obey(driver: Driver) -> None:
    """Answer each order with the method of its name."""
    while line := await anyio.to_thread.run_sync(sys.stdin.readline):
        order = json.loads(line)
        try:
            value = await getattr(driver, order["do"])(order)
            answer = {"ok": True, "value": value}
        except Exception as error:  # the orders' only way to say what went wrong
            answer = {"ok": False, "error": str(first_cause(error))[:300] or repr(error)}
        print(json.dumps(answer), flush=True)


class Progress:
    """When notifications came."""

    def __init__(self) -> None:
        self.times: list[float] = []

    async def __call__(self, _progress: float, _total: float | None, _message: str | None) -> None:
        self.times.append(time.monotonic())

    def answer(self) -> dict[str, float]:
        """As the orders want it."""
        spread = (self.times[-1] - self.times[0]) * 1000 if self.times else 0
        return {"notifications": len(self.times), "spread": spread}


def first_cause(error: BaseException) -> BaseException:
    """Task groups wrap what went wrong; the first leaf says it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


