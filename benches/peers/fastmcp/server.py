"""FastMCP, which answers the tool itself: with its own proxy behind the verifier it is twenty times slower.

With BENCH_PROVIDER it signs people in there, as its Cognito provider does at another address: clients and tokens in memory, which
is its quickest store, and nobody is asked for consent. Otherwise it verifies the tokens of PUBLIC_KEY.
"""

import os

from fastmcp import FastMCP

public_url = os.environ["PUBLIC_URL"]
if "BENCH_PROVIDER" in os.environ:
    from fastmcp.server.auth.oidc_proxy import OIDCProxy
    from key_value.aio.stores.memory import MemoryStore

    provider = os.environ["BENCH_PROVIDER"]
    auth = OIDCProxy(
        config_url=f"{provider}/.well-known/openid-configuration",
        client_id=os.environ["CLIENT_ID"],
        client_secret=os.environ["CLIENT_SECRET"],
        base_url=public_url,
        redirect_path="/callback",
        algorithm="RS256",
        required_scopes=["openid"],
        client_storage=MemoryStore(),
        require_authorization_consent=False,
    )
else:
    from fastmcp.server.auth.providers.jwt import JWTVerifier

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
