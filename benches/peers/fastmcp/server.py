"""FastMCP with JWTVerifier. It answers the tool itself: with its own proxy behind the verifier it is twenty times slower."""

import os

from fastmcp import FastMCP
from fastmcp.server.auth.providers.jwt import JWTVerifier

public_url = os.environ["PUBLIC_URL"]
with open(os.environ["PUBLIC_KEY"]) as file:
    public_key = file.read()
auth = JWTVerifier(
    public_key=public_key,
    issuer=public_url,
    audience=f"{public_url}/mcp",
    algorithm="RS256",
    base_url=public_url,
)
mcp = FastMCP("bench", auth=auth)
ANSWER = "x" * 900


@mcp.tool
def bench_tool(text: str) -> str:
    return ANSWER


mcp.run(
    transport="http",
    host="127.0.0.1",
    port=int(os.environ["PORT"]),
    stateless_http=True,
    json_response=True,
    show_banner=False,
    log_level="error",
)
