"""The client of FastMCP: obeys the orders of life/orders.mjs. It looks at the authorize URL before its browser does.

    fastmcp_life.py MCP_URL REDIRECT_URI [DOCUMENT_URL]

The browser is the program that BROWSER names.
"""

import os
import sys
import time
from typing import Any
from urllib.parse import urlsplit

import anyio
from fastmcp import Client
from fastmcp.client.auth import OAuth
from key_value.aio.stores.memory import MemoryStore
from orders import Progress, obey


class Application:
    """One application with one server."""

    def __init__(self, mcp_url: str, redirect: str, document: str | None = None) -> None:
        self.mcp_url, self.document = mcp_url, document
        self.port = urlsplit(redirect).port
        self.store = MemoryStore()
        self.client: Client | None = None

    async def connect(self, _order: dict[str, Any]) -> None:
        """A new session with what is stored, as after a start of the application."""
        await self.close({})
        self.auth = OAuth(
            mcp_url=self.mcp_url,
            client_name="FastMCP application",
            token_storage=self.store,
            callback_port=self.port,
            callback_timeout=30,
            client_metadata_url=self.document,
        )
        client = Client(self.mcp_url, auth=self.auth, mode=os.environ.get("PROTOCOL", "auto"))
        await client.__aenter__()
        self.client = client

    async def call(self, order: dict[str, Any]) -> Any:
        return (await self.opened().call_tool(order["tool"], {})).structured_content

    async def stream(self, order: dict[str, Any]) -> Any:
        progress = Progress()
        arguments = {"from": order["from"], "interval_ms": order["interval"]}
        await self.opened().call_tool("countdown", arguments, progress_handler=progress)
        return progress.answer()

    async def expire(self, _order: dict[str, Any]) -> None:
        """It refreshes by the clock; at a 401 it opens the browser."""
        self.auth.context.token_expiry_time = time.time() - 1

    async def forget(self, _order: dict[str, Any]) -> None:
        """Loses the tokens, keeps the registration."""
        client = await self.auth.token_storage_adapter.get_client_info()
        await self.auth.token_storage_adapter.clear()
        await self.auth.token_storage_adapter.set_client_info(client)

    async def close(self, _order: dict[str, Any]) -> None:
        client, self.client = self.client, None
        if client is not None:
            await client.__aexit__(None, None, None)

    def opened(self) -> Client:
        assert self.client is not None, "not connected"
        return self.client


if __name__ == "__main__":
    anyio.run(obey, Application(*sys.argv[1:]))
