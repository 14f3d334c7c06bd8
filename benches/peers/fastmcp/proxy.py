"""FastMCP's own way to sign people in through a provider: what its Cognito provider is, with another address of the provider.

Clients and tokens are kept in memory, which is its quickest store, and nobody is asked for consent.
"""

import os

from fastmcp import FastMCP
from fastmcp.server.auth.oidc_proxy import OIDCProxy
from key_value.aio.stores.memory import MemoryStore

auth = OIDCProxy(
    config_url=f"{os.environ['PROVIDER']}/.well-known/openid-configuration",
    client_id=os.environ["CLIENT_ID"],
    client_secret=os.environ["CLIENT_SECRET"],
    base_url=os.environ["PUBLIC_URL"],
    redirect_path="/callback",
    algorithm="RS256",
    required_scopes=["openid"],
    client_storage=MemoryStore(),
    require_authorization_consent=False,
)
mcp = FastMCP("bench", auth=auth)
mcp.run(
    transport="http",
    host="127.0.0.1",
    port=int(os.environ["PORT"]),
    stateless_http=True,
    json_response=True,
    show_banner=False,
    log_level="error",
)
