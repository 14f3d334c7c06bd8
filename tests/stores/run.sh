#!/usr/bin/env bash
# The stores that replicas share, against real servers: Redis, PostgreSQL, with and without TLS, and PostgreSQL behind PgBouncer. Then several
# `vestibule serve` that share one of them, and one with a file.
#
#   tests/stores/run.sh [FILTER]    everything, or the tests whose names hold FILTER
#
# The servers are Debian's, installed when absent. They listen on free ports of the loopback and end with this script;
# their data is thrown away. Logs go below target/stores.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=stores
logs=${CARGO_TARGET_DIR:-$here/../../target}/stores/servers
# shellcheck source=tests/common.sh
source "$here/../common.sh"
# Not below target/: PostgreSQL does not run as root, and another user may not be able to go there.
work=$(mktemp -d /tmp/vestibule-stores.XXXXXX)
chmod 755 "$work"
password=open-sesame
# PostgreSQL needs its folder until it has ended.
before_end() { trap 'rm -rf "$work"' EXIT; }

# The newest server programs that Debian put where they are not on the PATH.
for directory in /usr/lib/postgresql/*/bin /usr/sbin; do PATH=$PATH:$directory; done
debian redis-server=redis-server initdb=postgresql pgbouncer=pgbouncer openssl=openssl
for directory in /usr/lib/postgresql/*/bin; do PATH=$PATH:$directory; done

# PostgreSQL and PgBouncer refuse to run as root.
user=$(id -un)
if ((EUID == 0)); then user=postgres; fi
# as_user COMMAND…: replaces the shell, so that $! of a job is the server itself.
as_user() {
    if ((EUID == 0)); then
        exec setpriv --reuid="$user" --regid="$user" --init-groups --reset-env -- "$@"
    fi
    exec "$@"
}

read -r redis_port evicting_port tls_port postgres_port bouncer_port < <(free_ports 5)

# A certificate for `localhost` and no other name, its authority, and an authority that has nothing to do with it.
tls=$work/tls
mkdir -p "$tls"
authority() { # NAME
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 -subj "/CN=$1" \
        -addext basicConstraints=critical,CA:TRUE -keyout "$tls/$1-key.pem" -out "$tls/$1.pem" 2>>"$logs/openssl.log"
}
authority ca
authority other-ca
openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=localhost \
    -keyout "$tls/key.pem" -out "$tls/request.pem" 2>>"$logs/openssl.log"
openssl x509 -req -in "$tls/request.pem" -CA "$tls/ca.pem" -CAkey "$tls/ca-key.pem" -CAcreateserial -days 2 \
    -extfile <(printf 'subjectAltName=DNS:localhost') -out "$tls/cert.pem" 2>>"$logs/openssl.log"

redis() { # PORT NAME OPTION…
    mkdir -p "$work/$2"
    start "$2" redis-server --bind 127.0.0.1 --port "$1" --dir "$work/$2" --save "" "${@:3}"
}
redis "$redis_port" redis --requirepass "$password" --appendonly yes
redis "$evicting_port" evicting --maxmemory 64mb --maxmemory-policy allkeys-lru
# TLS only, and users: one as docs/configuration.md says, one that may do nothing.
redis 0 redis-tls --tls-port "$tls_port" --tls-cert-file "$tls/cert.pem" --tls-key-file "$tls/key.pem" \
    --tls-ca-cert-file "$tls/ca.pem" --tls-auth-clients no --appendonly yes \
    --user default off \
    --user vestibule on ">$password" "~{vestibule}:*" +@read +@write +@scripting +@connection +info +scan \
    --user nobody on ">$password" "~other:*" +ping

mkdir -p "$work/postgres"
if ((EUID == 0)); then chown "$user" "$work/postgres"; fi
data=$work/postgres/data
cd "$work/postgres"
printf '%s\n' "$password" >"$work/password"
chmod 644 "$work/password"
(as_user "$(command -v initdb)" --pgdata "$data" --username vestibule --pwfile "$work/password" \
    --auth scram-sha-256 --no-sync --locale en_US.UTF-8 --encoding UTF8) >"$logs/initdb.log" 2>&1 ||
    (rm -rf "$data" && as_user "$(command -v initdb)" --pgdata "$data" --username vestibule \
        --pwfile "$work/password" --auth scram-sha-256 --no-sync --encoding UTF8) >"$logs/initdb.log" 2>&1
# One role that comes by TLS or not at all. PostgreSQL wants a key that is its user's alone.
cp "$tls/cert.pem" "$tls/key.pem" "$data"
if ((EUID == 0)); then chown "$user" "$data/cert.pem" "$data/key.pem"; fi
chmod 600 "$data/key.pem"
sed -i '1i hostnossl all by_tls all reject' "$data/pg_hba.conf"
start postgres as_user "$(command -v postgres)" -D "$data" -p "$postgres_port" -c listen_addresses=127.0.0.1 \
    -c ssl=on -c ssl_cert_file=cert.pem -c ssl_key_file=key.pem \
    -c unix_socket_directories="$work/postgres" -c max_connections=300

sql() { PGPASSWORD=$password psql -qAt -h 127.0.0.1 -p "$postgres_port" -U vestibule -d "$1" -c "$2"; }
ready sql postgres "SELECT 1"
sql postgres "CREATE DATABASE grants"
sql postgres "CREATE DATABASE empty"
sql postgres "CREATE ROLE reader LOGIN PASSWORD '$password'"
sql postgres "CREATE ROLE by_tls LOGIN PASSWORD '$password'"
sql postgres "CREATE DATABASE by_tls OWNER by_tls"
sql empty "REVOKE CREATE ON SCHEMA public FROM PUBLIC"

cat >"$work/pgbouncer.ini" <<INI
[databases]
grants = host=127.0.0.1 port=$postgres_port dbname=grants user=vestibule password=$password
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = $bouncer_port
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 4
max_client_conn = 500
INI
chmod 644 "$work/pgbouncer.ini"
start pgbouncer as_user "$(command -v pgbouncer)" "$work/pgbouncer.ini"

ping_redis() { [[ $(redis-cli -h 127.0.0.1 -p "$1" -a "$password" --no-auth-warning ping) == PONG ]]; }
ready ping_redis "$redis_port"
ready redis-cli -h 127.0.0.1 -p "$evicting_port" ping
ready redis-cli -h localhost -p "$tls_port" --tls --cacert "$tls/ca.pem" ping
ready env PGPASSWORD=x psql -qAt -h 127.0.0.1 -p "$bouncer_port" -U vestibule -d grants -c "SELECT 1"
say "Redis $(redis-server --version | grep -oE 'v=[^ ]+'), $(postgres --version), $(pgbouncer --version | head -n 1)"

export VESTIBULE_TEST_REDIS=redis://:$password@127.0.0.1:$redis_port/0
export VESTIBULE_TEST_REDIS_EVICTING=redis://127.0.0.1:$evicting_port/0
export VESTIBULE_TEST_POSTGRES=postgres://vestibule:$password@127.0.0.1:$postgres_port/grants
export VESTIBULE_TEST_POSTGRES_READER=postgres://reader:$password@127.0.0.1:$postgres_port/empty
export VESTIBULE_TEST_TLS=$tls
export VESTIBULE_TEST_REDIS_TLS=rediss://vestibule:$password@localhost:$tls_port/0
export VESTIBULE_TEST_POSTGRES_TLS=postgres://by_tls:$password@localhost:$postgres_port/by_tls
export VESTIBULE_TEST_PGBOUNCER=postgres://vestibule:$password@127.0.0.1:$bouncer_port/grants
cd "$root"
cargo nextest run --workspace --test stores --features "$features" --locked --profile stores --no-tests pass "$@"
# Their own Redis and PostgreSQL servers, which are killed, are started by the tests.
cargo nextest run --workspace --test processes --features "$features" --locked --profile processes --no-tests pass \
    -E 'default() and not test(/^dynamodb::/)' "$@"
say "stores: all passed"
