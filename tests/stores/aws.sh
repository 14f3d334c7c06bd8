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
name="AWS stores"
logs=${CARGO_TARGET_DIR:-$here/../../target}/stores/aws
# shellcheck source=tests/common.sh
source "$here/../common.sh"
venv=$target/stores/venv-aws

python_packages "$venv" "$here/aws-requirements.txt"

# Nothing of this computer's own AWS set-up: no profile, no metadata service.
while IFS='=' read -r variable _; do
    unset "$variable"
done < <(env | grep '^AWS_' || true)
export AWS_CONFIG_FILE=/dev/null AWS_SHARED_CREDENTIALS_FILE=/dev/null AWS_EC2_METADATA_DISABLED=true
export AWS_ACCESS_KEY_ID=testing AWS_SECRET_ACCESS_KEY=testing AWS_REGION=eu-west-1

servers=("$@")
if (($# == 0)); then servers=(moto ministack); fi
for server in "${servers[@]}"; do
    port=$(free_ports 1)
    case $server in
        moto) command=("$venv/bin/moto_server" -H 127.0.0.1 -p "$port") ;;
        ministack)
            command=(env GATEWAY_PORT="$port" BIND_HOST=127.0.0.1 IOT_MTLS_ENABLED=0 "$venv/bin/ministack") ;;
        *) echo "there is no server $server" >&2; exit 2 ;;
    esac
    start "$server" "${command[@]}"
    ready listens "$port"
    say "$server on port $port"
    export AWS_ENDPOINT_URL=http://127.0.0.1:$port
    (cd "$root" && cargo nextest run --workspace --test aws --features "$features" --locked \
        --ignore-default-filter --no-fail-fast)
    (cd "$root" && cargo nextest run --workspace --test processes --features "$features" --locked --profile processes \
        -E 'test(/^dynamodb::/)')
done
say "AWS stores: all passed"
