#!/usr/bin/env bash
# The metrics with real Prometheus: it scrapes a server that was signed in at, its tools find nothing wrong with names,
# alerts and the queries of the dashboard, and every query of both is understood.
#
#   tests/metrics/run.sh
#   VESTIBULE=/path/to/vestibule    that one instead of a debug build
#
# Needs cargo, python3, curl and openssl. Prometheus comes from Debian, unpacked below target/ when it is not there; nothing
# is installed. Everything listens on free ports of the loopback and ends with this script, by process id.
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
name=metrics
logs=${CARGO_TARGET_DIR:-$here/../../target}/metrics
# shellcheck source=tests/common.sh
source "$here/../common.sh"
work=$logs

promtool=$(command -v promtool || true)
prometheus=$(command -v prometheus || true)
if [[ -z $promtool || -z $prometheus ]]; then
    if [[ ! -x $work/debian/usr/bin/promtool ]]; then
        say "fetching Prometheus"
        mkdir -p "$work/deb"
        apt-get update -qq
        (cd "$work/deb" && rm -f ./*.deb && apt-get download -qq prometheus >apt.log 2>&1)
        dpkg -x "$work"/deb/prometheus_*.deb "$work/debian"
    fi
    promtool=$work/debian/usr/bin/promtool
    prometheus=$work/debian/usr/bin/prometheus
fi

vestibule_built

say "alerts"
"$promtool" check rules "$root/deploy/prometheus/alerts.yml" >/dev/null
(cd "$root/deploy/prometheus" && "$promtool" test rules alerts_test.yml >/dev/null)

say "queries of the dashboard"
python3 "$here/queries.py" "$root/deploy/grafana/vestibule.json" >"$work/dashboard.yml"
"$promtool" check rules "$work/dashboard.yml" >/dev/null

say "a server"
rm -rf "$work/run" && mkdir -p "$work/run"
cd "$work/run"
cat >vestibule.toml <<'TOML'
public_url = "http://localhost:8080"
[server]
listen = ["127.0.0.1:0"]
[provider]
issuer = "http://127.0.0.1:1/pool"
client_id = "c"
[[resource]]
path = "/mcp"
upstream = "http://127.0.0.1:1/mcp"
[keys]
file = "keys.toml"
[metrics]
listen = "127.0.0.1:0"
TOML
"$vestibule" keys generate --out keys.toml >/dev/null 2>&1
start serve "$vestibule" serve
ready grep -q 'for metrics' "$work/serve.out"
address() { sed -n "s|^vestibule listens on http://\([^ ]*\) .*for $1.*|\1|p" "$work/serve.out" | head -1; }
public=$(address http)
metrics=$(address metrics)
# Something to count: a challenge, an unknown client, a registration, a wrong token, a provider that is away.
post() { curl -s -o /dev/null -H "host: localhost:8080" "$@"; }
post "http://$public/mcp"
post "http://$public/authorize?client_id=nobody"
post "http://$public/readyz"
post -H 'content-type: application/json' -d '{"client_name":"x","redirect_uris":["http://localhost/cb"]}' \
    "http://$public/register"
post -d 'grant_type=refresh_token&refresh_token=x&client_id=x' "http://$public/token"

say "names and help, by promtool"
# promtool reads the older text format, in which the name of a counter has its ending in HELP and TYPE as well.
curl -s "http://$metrics/metrics" >"$work/openmetrics.txt"
python3 "$here/older.py" <"$work/openmetrics.txt" | "$promtool" check metrics

say "scraped by Prometheus"
port=$(free_ports 1)
cat >prometheus.yml <<YAML
global: { scrape_interval: 1s, evaluation_interval: 1s }
rule_files: ["$root/deploy/prometheus/alerts.yml", "$work/dashboard.yml"]
scrape_configs:
  - job_name: vestibule
    static_configs: [{ targets: ["$metrics"] }]
YAML
start prometheus "$prometheus" --config.file=prometheus.yml --storage.tsdb.path="$work/run/tsdb" \
    --web.listen-address="127.0.0.1:$port"
asked() { curl -s --get --data-urlencode "query=$1" "http://127.0.0.1:$port/api/v1/query"; }
has() { asked "$1" | grep -q '"value":\['; }
ready has 'up{job="vestibule"} == 1'
ready has 'vestibule_http_requests_total{route="resource",code="401"} == 1'
has 'vestibule_oauth_registrations_total{outcome="registered"} == 1'
has 'vestibule_idp_request_duration_seconds_count{endpoint="discovery",outcome="unavailable"} >= 1'
# What Prometheus knows of a metric is what we say of it.
curl -s "http://127.0.0.1:$port/api/v1/metadata?metric=vestibule_http_requests" | grep -q '"type":"counter"'
ready sh -c "curl -s http://127.0.0.1:$port/api/v1/rules | grep -q '\"health\":\"ok\"'"
if curl -s "http://127.0.0.1:$port/api/v1/rules" | grep -q '"health":"err"'; then
    echo "a rule fails" >&2
    exit 1
fi
say "done"
