#!/usr/bin/env bash
# A person with a real browser: headless Chromium through consent, sign-in and every page, before `vestibule dev`.
#
#   tests/browser/run.sh            everything; needs cargo, node >= 20 and Chromium (installed from Debian when absent)
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

dev=
# Ends only what this script started, by process id.
finish() {
    local status=$?
    trap - EXIT
    if [[ -n $dev ]]; then
        kill "$dev" 2>/dev/null || true
        wait "$dev" 2>/dev/null || true
    fi
    if ((status != 0)); then
        echo "browser: FAILED; screenshots are in $work/screenshots; the end of the log:" >&2
        tail -n 25 "$logs/dev.log" >&2 || true
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

: >"$logs/dev.out"
"$vestibule" dev --port 0 --ephemeral --store memory --json >"$logs/dev.out" 2>"$logs/dev.log" </dev/null &
dev=$!
for _ in $(seq 300); do
    if [[ -s $logs/dev.out ]]; then break; fi
    if ! kill -0 "$dev" 2>/dev/null; then
        echo "vestibule dev ended before it was ready" >&2
        exit 1
    fi
    sleep 0.1
done

say "driving $("$CHROMIUM" --version 2>/dev/null)"
node "$work/drive.mjs" "$logs/dev.out" "$work/screenshots"
say "browser: all passed"
