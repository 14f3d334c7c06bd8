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
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/browser
mkdir -p "$work/logs"
work=$(cd "$work" && pwd)
logs=$work/logs

wanted=("$@")
if (($# == 0)); then wanted=(drive choice elsewhere); fi

pids=()
# Ends only what this script started, by process id.
finish() {
    local status=$?
    trap - EXIT
    if ((${#pids[@]})); then
        kill "${pids[@]}" 2>/dev/null || true
        wait "${pids[@]}" 2>/dev/null || true
    fi
    if ((status != 0)); then
        echo "browser: FAILED; screenshots are in $work/screenshots; the ends of the logs:" >&2
        tail -n 25 "$logs"/*.log >&2 || true
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '   %s\n' "$*"; }

export CHROMIUM=${CHROMIUM:-/usr/bin/chromium}
if [[ ! -x $CHROMIUM ]]; then
    say "installing Chromium"
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends chromium >/dev/null
fi

rm -rf "$work/screenshots"
cp "$here"/package.json "$here"/package-lock.json "$here"/*.mjs "$work"/
if ! cmp -s "$work/package-lock.json" "$work/node_modules/installed-lock.json"; then
    say "installing the packages"
    (cd "$work" && npm ci --ignore-scripts --no-audit --no-fund --silent)
    cp "$work/package-lock.json" "$work/node_modules/installed-lock.json"
fi

vestibule=${VESTIBULE:-}
if [[ -z $vestibule ]]; then
    say "building"
    (cd "$root" && cargo build --quiet --locked --package vestibule)
    vestibule=$target/debug/vestibule
fi
(cd "$root" && cargo build --quiet --locked --package vestibule-standin --bins)

rm -f "$logs"/*

# field FILE KEY: a value of the JSON object in FILE.
field() { python3 -c 'import json, sys; print(json.load(open(sys.argv[1]))[sys.argv[2]])' "$1" "$2"; }

# start NAME COMMAND…: in the background; standard output goes to NAME.out, the rest to NAME.log.
start() {
    local name=$1
    shift
    : >"$logs/$name.out"
    "$@" >"$logs/$name.out" 2>"$logs/$name.log" </dev/null &
    pids+=($!)
}

# ready NAME CONDITION…: waits up to 30 s for the condition, while the process started last lives.
ready() {
    local name=$1 pid=${pids[-1]}
    shift
    for _ in $(seq 300); do
        if "$@" >/dev/null 2>&1; then return; fi
        if ! kill -0 "$pid" 2>/dev/null; then break; fi
        sleep 0.1
    done
    echo "$name did not become ready" >&2
    return 1
}
answers() { python3 -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=2)' "$1"; }

start_dev() {
    start dev "$vestibule" dev --port 0 --ephemeral --store memory --json
    ready dev test -s "$logs/dev.out"
    start bare "$vestibule" dev --port 0 --ephemeral --json
    ready bare test -s "$logs/bare.out"
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
    read -r port page_port < <(python3 -c 'import socket
both = [socket.socket() for _ in range(2)]
for one in both: one.bind(("127.0.0.1", 0))
print(*[one.getsockname()[1] for one in both])')
    url=http://localhost:$port
    local standin=$target/debug/vestibule-standin
    start staff "$standin" --json --callback "$url/callback" --logout-url "$url/logout/done"
    ready staff test -s "$logs/staff.out"
    start guests "$standin" --json --callback "$url/callback/guests" --logout-url "$url/logout/done" --user "eve:guest:visitors"
    ready guests test -s "$logs/guests.out"
    start upstream "$target/debug/vestibule-demo" --jwks-url "$url/jwks.json"
    ready upstream test -s "$logs/upstream.out"
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
    ready house answers "$url/.well-known/oauth-authorization-server"
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
for name in "${wanted[@]}"; do
    began=$SECONDS
    if [[ $name == drive ]]; then
        start_dev
        node "$work/drive.mjs" "$logs/dev.out" "$work/screenshots" "$logs/bare.out"
    else
        if [[ ! -e $logs/house.log ]]; then start_house; fi
        node "$work/$name.mjs" "$work/house/house.json" "$work/screenshots"
    fi
    say "$name passed in $((SECONDS - began)) s"
done
say "browser: all passed"
