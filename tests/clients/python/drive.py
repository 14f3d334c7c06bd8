"""Drives the Python SDK's client through a whole life with one MCP server.

Discovery, registration, consent and sign-in in a browser, tool calls, streaming, refresh, revocation.

    drive.py MCP_URL USERNAME PASSWORD [GROUP,GROUP...]

PROTOCOL=legacy speaks the newest revision with sessions instead of the newest of all.
Prints one JSON line. Exits with 1 and a sentence on the first thing that is not as it must be.
"""

import json
import os
import random
import sys
import time
import traceback
from importlib.metadata import version
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

STEPS = 5
INTERVAL = 0.2


class Failure(Exception):
    """Something is not as it must be."""


def check(condition: object, message: str) -> None:
    """Fail with a sentence."""
    if not condition:
        raise Failure(message)


class Storage:
    """An application's credential store, in memory."""

    def __init__(self) -> None:
        self.tokens: OAuthToken | None = None
        self.client: OAuthClientInformationFull | None = None

    async def get_tokens(self) -> OAuthToken | None:
        return self.tokens

    async def set_tokens(self, tokens: OAuthToken) -> None:
        self.tokens = tokens

    async def get_client_info(self) -> OAuthClientInformationFull | None:
        return self.client

    async def set_client_info(self, client_info: OAuthClientInformationFull) -> None:
        self.client = client_info


class Driver:
    """One user, one application, one MCP server."""

    def __init__(self, mcp_url: str, username: str, password: str, groups: str | None) -> None:
        self.mcp_url = mcp_url
        self.groups = groups
        self.redirect = f"http://127.0.0.1:{random.randrange(49152, 65000)}/callback"
        self.browser = FakeBrowser(username, password)
        self.storage = Storage()
        self.callback: AuthorizationCodeResult | None = None
        self.grants: dict[str, int] = {}
        self.provider = OAuthClientProvider(
            server_url=mcp_url,
            client_metadata=OAuthClientMetadata(
                client_name="Python SDK driver",
                redirect_uris=[self.redirect],
                grant_types=["authorization_code", "refresh_token"],
                response_types=["code"],
            ),
            storage=self.storage,
            redirect_handler=self.redirect_handler,
            callback_handler=self.callback_handler,
        )

    async def redirect_handler(self, url: str) -> None:
        """Sign in, in the browser."""
        reached = await anyio.to_thread.run_sync(self.browser.visit, url, self.redirect)
        query = {name: values[0] for name, values in parse_qs(urlsplit(reached).query).items()}
        check("error" not in query, f"authorization refused: {query.get('error')}: {query.get('error_description')}")
        self.callback = AuthorizationCodeResult(code=query["code"], state=query.get("state"), iss=query.get("iss"))

    async def callback_handler(self) -> AuthorizationCodeResult:
        """Hand the answer to the SDK, which compares state and iss."""
        assert self.callback is not None
        return self.callback

    async def count(self, request: httpx2.Request) -> None:
        """Count the SDK's token requests by grant type."""
        if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
            for grant in parse_qs((await request.aread()).decode()).get("grant_type", []):
                self.grants[grant] = self.grants.get(grant, 0) + 1

    async def run(self) -> dict[str, Any]:
        """The whole life."""
        hooks = {"request": [self.count]}
        timeout = httpx2.Timeout(30, read=60)
        async with httpx2.AsyncClient(auth=self.provider, event_hooks=hooks, timeout=timeout) as http:
            transport = streamable_http_client(self.mcp_url, http_client=http)
            async with Client(transport, mode=os.environ.get("PROTOCOL", "auto")) as client:
                protocol = client.protocol_version
                tools = [tool.name for tool in (await client.list_tools()).tools]
                check("whoami" in tools, f"tools are {tools}")
                identity = await whoami(client)
                await self.obeys_groups(client, identity)
                progress = await streams(client)
                await self.refreshes(client)
                await self.revokes()
        return {
            "client": "python",
            "sdk": version("mcp"),
            "protocol": protocol,
            "subject": identity["subject"],
            "groups": identity["groups"],
            "credential": identity["bearer"]["kind"],
            "progress": progress,
            "grants": self.grants,
            "browser_visits": self.browser.visits,
            "revoked": True,
        }

    async def obeys_groups(self, client: Client, identity: dict[str, Any]) -> None:
        """The groups of the provider reach the upstream, which acts on them."""
        if identity["bearer"]["kind"] != "jwt":
            return
        groups = identity["groups"]
        if self.groups is not None:
            expected = sorted(filter(None, self.groups.split(",")))
            check(sorted(groups) == expected, f"groups are {groups}, expected {expected}")
        report = await client.call_tool("admin_report", {})
        check(bool(report.is_error) != ("admins" in groups), f"admin_report for {groups}: is_error {report.is_error}")

    async def refreshes(self, client: Client) -> None:
        """Let the access token expire. This SDK refreshes by the clock; on a 401 it would open the browser."""
        before = self.storage.tokens
        check(before and before.refresh_token, "no refresh token was issued")
        refreshed = self.grants.get("refresh_token", 0)
        self.provider.context.token_expiry_time = time.time() - 1
        await whoami(client)
        after = self.storage.tokens
        check(self.grants.get("refresh_token", 0) > refreshed, "the SDK did not refresh")
        check(after and before and after.access_token != before.access_token, "no new access token")
        check(self.browser.visits == 1, f"the browser was opened {self.browser.visits} times")

    async def revokes(self) -> None:
        """RFC 7009; the SDK has no call for it."""
        metadata = self.provider.context.oauth_metadata
        tokens, registered = self.storage.tokens, self.storage.client
        assert metadata and tokens and registered
        check(metadata.revocation_endpoint, "the metadata names no revocation endpoint")
        token = {"client_id": registered.client_id}
        secret = registered.client_secret
        auth = (registered.client_id, secret) if secret else None
        async with httpx2.AsyncClient(auth=auth) as http:
            fields = {**token, "token": tokens.refresh_token, "token_type_hint": "refresh_token"}
            revoked = await http.post(str(metadata.revocation_endpoint), data=fields)
            check(revoked.status_code == 200, f"revocation answered {revoked.status_code}: {revoked.text}")
            fields = {**token, "grant_type": "refresh_token", "refresh_token": tokens.refresh_token}
            refused = await http.post(str(metadata.token_endpoint), data=fields)
        error = refused.json().get("error")
        good = refused.status_code == 400 and error == "invalid_grant"
        check(good, f"a revoked token got {refused.status_code} {error}")


async def whoami(client: Client) -> dict[str, Any]:
    """Which identity reached the upstream."""
    answer = await client.call_tool("whoami", {})
    check(not answer.is_error, f"whoami failed: {answer.content}")
    assert isinstance(answer.structured_content, dict)
    return answer.structured_content


async def streams(client: Client) -> dict[str, int]:
    """Progress must arrive while the tool runs, not in a lump at its end."""
    times: list[float] = []

    async def progressed(_progress: float, _total: float | None, _message: str | None) -> None:
        times.append(time.monotonic())

    arguments = {"from": STEPS, "interval_ms": int(INTERVAL * 1000)}
    answer = await client.call_tool("countdown", arguments, progress_callback=progressed)
    end = time.monotonic()
    check(not answer.is_error, f"countdown failed: {answer.content}")
    check(len(times) >= 3, f"{len(times)} of {STEPS} progress notifications arrived")
    spread = times[-1] - times[0]
    least = (len(times) - 1) * INTERVAL / 2
    check(spread >= least, f"progress came in a lump: {spread:.3f} s from first to last, at least {least} expected")
    return {
        "notifications": len(times),
        "spread_ms": round(spread * 1000),
        "first_before_result_ms": round((end - times[0]) * 1000),
    }


def first_cause(error: BaseException) -> BaseException:
    """Task groups wrap what went wrong; the first leaf says it."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def main() -> int:
    """Drive, print, and say what went wrong."""
    if len(sys.argv) not in (4, 5):
        print("usage: drive.py MCP_URL USERNAME PASSWORD [GROUP,GROUP...]", file=sys.stderr)
        return 2
    driver = Driver(*sys.argv[1:4], sys.argv[4] if len(sys.argv) == 5 else None)
    try:
        print(json.dumps(anyio.run(driver.run)))
    except BaseException as error:  # the exit code and one sentence are this program's whole interface
        cause = first_cause(error)
        if os.environ.get("VERBOSE") or not isinstance(cause, Failure):
            traceback.print_exception(error)
        print(f"python client: {cause}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
