#!/usr/bin/env bash
# A person with a real browser: headless Chromium through consent, sign-in and every page, before `vestibule dev`; then
# before a `vestibule serve` with two providers; and an application in a page of another origin before the same.
#
#   tests/browser/run.sh            everything; needs cargo, openssl, node >= 20 and Chromium (from Debian when absent)
#   tests/browser/run.sh NAME…      only these of drive, choice, elsewhere
#   VESTIBULE=/path/to/vestibule    that one instead of a debug build
#   CHROMIUM=/path/to/chromium      that one instead of /usr/bin/chromium
#
# All traffic stays on the loopback. Packages, logs and screenshots go below target/browser.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=browser
work=${CARGO_TARGET_DIR:-$here/../../target}/browser
logs=$work/logs
# shellcheck source=tests/common.sh
source "$here/../common.sh"
work=$(cd "$work" && pwd)
before_end() {
    if (($1 != 0)); then echo "browser: screenshots are in $work/screenshots" >&2; fi
}

wanted=("$@")
if (($# == 0)); then wanted=(drive choice elsewhere); fi

export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
debian "$CHROMIUM=chromium"

rm -rf "$work/screenshots"
cp "$here"/package.json "$here"/package-lock.json "$here"/*.mjs "$work"/
node_packages "$work"

vestibule_built
(cd "$root" && cargo build --quiet --locked --package vestibule-standin --bins)

rm -f "$logs"/*

start_dev() {
    start dev "$vestibule" dev --port 0 --ephemeral --store memory --json
    ready test -s "$logs/dev.out"
    start bare "$vestibule" dev --port 0 --ephemeral --json
    ready test -s "$logs/bare.out"
}

# Two pools that sign people in, and web pages of a listed origin. What the tests must know goes to house.json.
start_house() {
    local house=$work/house port page_port url
    rm -rf "$house"
    mkdir -m 700 "$house"
    mkdir "$house/documents"
    cat >"$house/documents/page.json" <<'JSON'
{
  "client_id": "https://client.example/page",
  "client_name": "Documented",
  "redirect_uris": ["http://127.0.0.1/callback"],
  "token_endpoint_auth_method": "none"
}
JSON
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
        -addext subjectAltName=DNS:app.localhost,DNS:other.localhost -keyout "$house/key.pem" -out "$house/cert.pem" 2>/dev/null
    read -r port page_port < <(free_ports 2)
    url=http://localhost:$port
    local standin=$target/debug/vestibule-standin
    start staff "$standin" --json --callback "$url/callback" --logout-url "$url/logout/done"
    ready test -s "$logs/staff.out"
    start guests "$standin" --json --callback "$url/callback/guests" --logout-url "$url/logout/done" --user "eve:guest:visitors"
    ready test -s "$logs/guests.out"
    start upstream "$target/debug/vestibule-demo" --jwks-url "$url/jwks.json"
    ready test -s "$logs/upstream.out"
    "$vestibule" keys generate --out "$house/keys.toml" >"$logs/keys.log" 2>&1
    provider() {
        printf '[[provider]]\nid = "%s"\nlabel = "%s"\npreset = "cognito"\nscopes = ["openid", "email"]\n' "$1" "$2"
        printf 'issuer = "%s"\nclient_id = "%s"\nclient_secret = "%s"\n\n' "$(field "$logs/$1.out" issuer)" \
            "$(field "$logs/$1.out" client_id)" "$(field "$logs/$1.out" client_secret)"
    }
    (
        umask 077
        cat >"$house/vestibule.toml" <<TOML
public_url = "$url"

[server]
listen = ["127.0.0.1:$port"]
allowed_origins = ["https://app.localhost:$page_port"]

$(provider staff "Staff account")
$(provider guests "Guest account")

[[resource]]
path = "/mcp"
upstream = "$(field "$logs/upstream.out" url)"
providers = ["staff", "guests"]

[[resource.scope]]
name = "mcp:read"
description = "Read notes"

[[resource.scope]]
name = "mcp:write"
description = "Write and change notes"

[resource.credential]
type = "vestibule-token"

[clients]
documents_dir = "$house/documents"

[store]
url = "memory"

[keys]
file = "$house/keys.toml"
TOML
    )
    start house "$vestibule" serve --config "$house/vestibule.toml"
    ready answers "$url/.well-known/oauth-authorization-server"
    python3 - "$url" "$page_port" "$house" "$logs" >"$house/house.json" <<'PYTHON'
import json, sys
url, port, house, logs = sys.argv[1:]
providers = {name: json.load(open(f"{logs}/{name}.out")) for name in ["staff", "guests"]}
print(json.dumps({
    "issuer": url,
    "mcp_url": f"{url}/mcp",
    "page_port": int(port),
    "tls": {"key": f"{house}/key.pem", "cert": f"{house}/cert.pem"},
    "providers": providers,
    "users": providers["staff"]["users"],
    "guests": providers["guests"]["users"],
    "documented": "https://client.example/page",
}))
PYTHON
}

say "driving $("$CHROMIUM" --version 2>/dev/null)"
for part in "${wanted[@]}"; do
    began=$SECONDS
    if [[ $part == drive ]]; then
        start_dev
        node "$work/drive.mjs" "$logs/dev.out" "$work/screenshots" "$logs/bare.out"
    else
        if [[ ! -e $logs/house.log ]]; then start_house; fi
        node "$work/$part.mjs" "$work/house/house.json" "$work/screenshots"
    fi
    say "$part passed in $((SECONDS - began)) s"
done
say "browser: all passed"
