"""The Python SDK: obeys the orders of life/orders.mjs.

    life.py MCP_URL REDIRECT_URI [DOCUMENT_URL]
"""

import os
import sys
import time
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import anyio
import httpx2
from mcp import Client
from mcp.client.auth import OAuthClientProvider
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.auth import AuthorizationCodeResult, OAuthClientInformationFull, OAuthClientMetadata, OAuthToken

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from fake_browser import FakeBrowser  # noqa: E402
from orders import Progress, obey  # noqa: E402


class Storage:
    """An application's credential store, in memory."""

    tokens: OAuthToken | None = None
    client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Application:
    """One application with one server."""

    def __init__(self, mcp_url: str, redirect: str, document: str | None = None) -> None:
        self.mcp_url, self.redirect, self.document = mcp_url, redirect, document
        self.browser = FakeBrowser(os.environ["BROWSE_USER"], os.environ["BROWSE_PASSWORD"])
        self.storage = Storage()
        self.stack = AsyncExitStack()

    async def connect(self, _order: dict[str, Any]) -> None:
        """A new session with what is stored, as after a start of the application."""
        await self.close({})
        self.provider = OAuthClientProvider(
            server_url=self.mcp_url,
            client_metadata=OAuthClientMetadata(
                client_name="Python application",
                redirect_uris=[self.redirect],
                grant_types=["authorization_code", "refresh_token"],
                response_types=["code"],
            ),
            storage=self.storage,
            redirect_handler=self.open_browser,
            callback_handler=self.came_back,
            client_metadata_url=self.document,
        )
        http = httpx2.AsyncClient(auth=self.provider, timeout=httpx2.Timeout(30, read=60))
        http = await self.stack.enter_async_context(http)
        transport = streamable_http_client(self.mcp_url, http_client=http)
        self.client = await self.stack.enter_async_context(Client(transport, mode=os.environ.get("PROTOCOL", "auto")))

    async def open_browser(self, url: str) -> None:
        reached = await anyio.to_thread.run_sync(self.browser.visit, url, self.redirect)
        query = {name: values[0] for name, values in parse_qs(urlsplit(reached).query).items()}
        if "error" in query:
            raise RuntimeError(f"refused: {query['error']}")
        self.answer = AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss"))

    async def came_back(self) -> AuthorizationCodeResult:
        return self.answer

    async def call(self, order: dict[str, Any]) -> Any:
        answer = await self.client.call_tool(order["tool"], {})
        if answer.is_error:
            raise RuntimeError(str(answer.content))
        return answer.structured_content

    async def stream(self, order: dict[str, Any]) -> Any:
        progress = Progress()
        arguments = {"from": order["from"], "interval_ms": order["interval"]}
        answer = await self.client.call_tool("countdown", arguments, progress_callback=progress)
        if answer.is_error:
            raise RuntimeError(str(answer.content))
        return progress.answer()

    async def expire(self, _order: dict[str, Any]) -> None:
        """This SDK refreshes by the clock; at a 401 it opens the browser."""
        self.provider.context.token_expiry_time = time.time() - 1

    async def forget(self, _order: dict[str, Any]) -> None:
        self.storage.tokens = None

    async def close(self, _order: dict[str, Any]) -> None:
        stack, self.stack = self.stack, AsyncExitStack()
        await stack.aclose()


if __name__ == "__main__":
    anyio.run(obey, Application(*sys.argv[1:]))
