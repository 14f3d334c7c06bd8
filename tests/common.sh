# What the scripts below tests/ share; each sources it after setting `name` and `logs`, with `set -euo pipefail`.
#
#   root, target    this checkout, and where it is built
#   pids            what was started: ended with the script, by process id, the newest last
#   features        what a release has beyond the default features
#
# A script may define `before_end STATUS`, which is called first when it ends.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
features=${VESTIBULE_FEATURES:-vestibule/aws,vestibule/redis,vestibule/postgres}
mkdir -p "$logs"
logs=$(cd "$logs" && pwd)

pids=()
# Ends only what this script started.
finish() {
    local status=$?
    trap - EXIT
    if declare -F before_end >/dev/null; then before_end "$status"; fi
    if ((${#pids[@]})); then
        kill "${pids[@]}" 2>/dev/null || true
        wait "${pids[@]}" 2>/dev/null || true
    fi
    if ((status != 0)); then
        echo "$name: FAILED; the ends of the logs in $logs:" >&2
        tail -n 25 "$logs"/*.log >&2 || true
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '   %s\n' "$*"; }

# field FILE KEY…: a value of the JSON in FILE; a list with commas. A number means a place in a list.
field() {
    python3 -c 'import json, sys
it = json.load(open(sys.argv[1]))
for key in sys.argv[2:]: it = it[int(key)] if key.isdigit() else it[key]
print(",".join(it) if isinstance(it, list) else it)' "$@"
}

# free_ports COUNT: free ports of the loopback, on one line.
free_ports() {
    python3 -c 'import socket, sys
all = [socket.socket() for _ in range(int(sys.argv[1]))]
for one in all: one.bind(("127.0.0.1", 0))
print(*[one.getsockname()[1] for one in all])' "$1"
}

# start NAME COMMAND…: in the background; standard output goes to NAME.out, the rest to NAME.log.
start() {
    local out=$logs/$1.out log=$logs/$1.log
    shift
    : >"$out" # exists before anyone looks
    "$@" >"$out" 2>"$log" </dev/null &
    pids+=($!)
}

# until_it PID WORKS…: waits up to 30 s for the condition, while the process lives.
until_it() {
    local pid=$1
    shift
    for _ in $(seq 300); do
        if "$@" >/dev/null 2>&1; then return; fi
        if ! kill -0 "$pid" 2>/dev/null; then
            echo "ended before it was ready: $*" >&2
            return 1
        fi
        sleep 0.1
    done
    echo "not ready within 30 s: $*" >&2
    return 1
}

# ready WORKS…: the same for what was started last.
ready() { until_it "${pids[-1]}" "$@"; }

answers() { python3 -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=2)' "$1"; }

listens() { python3 -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1)' "$1"; }

# debian COMMAND=PACKAGE…: installs the packages of commands that are not there.
debian() {
    local pair missing=()
    for pair in "$@"; do
        command -v "${pair%%=*}" >/dev/null || missing+=("${pair##*=}")
    done
    if ((${#missing[@]} == 0)); then return; fi
    say "installing ${missing[*]}"
    # Servers are not started by installing them.
    export RUNLEVEL=1 DEBIAN_FRONTEND=noninteractive
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >"$logs/apt.log" 2>&1 </dev/null
}

# node_packages DIRECTORY: what its package-lock.json says, unless it is there.
node_packages() {
    if cmp -s "$1/package-lock.json" "$1/node_modules/installed-lock.json"; then return; fi
    say "installing the packages of $(basename "$1")"
    (cd "$1" && npm ci --ignore-scripts --no-audit --no-fund --silent)
    cp "$1/package-lock.json" "$1/node_modules/installed-lock.json"
}

# python_packages VENV REQUIREMENTS: a virtual environment with what the file says, unless it is there.
python_packages() {
    if cmp -s "$2" "$1/installed.txt"; then return; fi
    say "installing the packages of $(basename "$1")"
    rm -rf "$1"
    if ! python3 -m venv "$1" >/dev/null 2>&1; then
        # Debian keeps ensurepip in a package of its own.
        apt-get install -y -qq python3-venv >/dev/null
        python3 -m venv "$1"
    fi
    "$1/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$2"
    cp "$2" "$1/installed.txt"
}

# vestibule_built: sets `vestibule`, to $VESTIBULE or to a debug build.
vestibule_built() {
    vestibule=${VESTIBULE:-}
    if [[ -z $vestibule ]]; then
        say "building"
        (cd "$root" && cargo build --quiet --locked --package vestibule)
        vestibule=$target/debug/vestibule
    fi
    vestibule=$(realpath "$vestibule")
}
