#!/usr/bin/env bash
# The DynamoDB store, two `vestibule serve` that share it, and secrets by reference, against two servers that answer like
# AWS: moto and ministack, both from PyPI. They check neither signatures nor permissions: unit tests do that.
#
#   tests/stores/aws.sh             both; needs cargo with cargo-nextest and python3 >= 3.11
#   tests/stores/aws.sh moto        only that one
#
# All traffic stays on the loopback. Packages and logs go below target/stores, nothing into the source tree.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
target=${CARGO_TARGET_DIR:-$root/target}
work=$target/stores
features=${VESTIBULE_FEATURES:-vestibule/aws,vestibule/redis,vestibule/postgres}
mkdir -p "$work/logs"
venv=$work/venv-aws

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
        echo "AWS stores: FAILED; the ends of the logs in $work/logs:" >&2
        tail -n 25 "$work/logs"/aws-*.log >&2 || true
    fi
    exit "$status"
}
trap finish EXIT
trap 'exit 130' INT TERM

say() { printf '   %s\n' "$*"; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }

listens() { python3 -c 'import socket, sys; socket.create_connection(("127.0.0.1", int(sys.argv[1])), 1)' "$1" 2>/dev/null; }

if ! cmp -s "$here/aws-requirements.txt" "$venv/installed.txt"; then
    say "installing moto and ministack"
    rm -rf "$venv"
    if ! python3 -m venv "$venv" >/dev/null 2>&1; then
        # Debian keeps ensurepip in a package of its own.
        apt-get install -y -qq python3-venv >/dev/null
        python3 -m venv "$venv"
    fi
    "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$here/aws-requirements.txt"
    cp "$here/aws-requirements.txt" "$venv/installed.txt"
fi

# Nothing of this computer's own AWS set-up: no profile, no metadata service.
while IFS='=' read -r name _; do
    unset "$name"
done < <(env | grep '^AWS_' || true)
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_REGION=eu-west-1

servers=("$@")
if (($# == 0)); then servers=(moto ministack); fi
for server in "${servers[@]}"; do
    port=$(free_port)
    log=$work/logs/aws-$server.log
    case $server in
        moto) command=("$venv/bin/moto_server" -H 127.0.0.1 -p "$port") ;;
        ministack)
            command=(env GATEWAY_PORT="$port" BIND_HOST=127.0.0.1 IOT_MTLS_ENABLED=0 "$venv/bin/ministack") ;;
        *) echo "there is no server $server" >&2; exit 2 ;;
    esac
    "${command[@]}" >"$log" 2>&1 </dev/null &
    pids+=($!)
    for _ in $(seq 300); do
        if listens "$port"; then break; fi
        if ! kill -0 "${pids[-1]}" 2>/dev/null; then
            echo "$server ended before it was ready" >&2
            exit 1
        fi
        sleep 0.1
    done
    say "$server on port $port"
    export AWS_ENDPOINT_URL=http://127.0.0.1:$port
    (cd "$root" && cargo nextest run --workspace --test aws --features "$features" --locked \
        --ignore-default-filter --no-fail-fast)
    (cd "$root" && cargo nextest run --workspace --test processes --features "$features" --locked --profile processes \
        -E 'test(/^dynamodb::/)')
done
say "AWS stores: all passed"
