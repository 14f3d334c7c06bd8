#!/usr/bin/env bash
# Sign-ins and refreshes in an empty store and among many grants, with a release build: the table of docs/stores.md.
#
#   tests/stores/many.sh [GRANTS]            a million unless told otherwise
#   tests/stores/many.sh --write [GRANTS]    writes the table into docs/stores.md
#
# A million take some minutes, 3 GB of disk and 3 GB of memory. Nothing else should run meanwhile.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/../.."
write=
if [[ ${1:-} == --write ]]; then
    write=yes
    shift
fi
grants=${1:-1000000}
features=${VESTIBULE_FEATURES:-vestibule/aws,vestibule/redis,vestibule/postgres}
command -v redis-server >/dev/null || {
    echo "redis-server is missing; tests/stores/run.sh installs it" >&2
    exit 1
}
rows=$(mktemp)
trap 'rm -f "$rows"' EXIT
VESTIBULE_TEST_TABLE=$rows VESTIBULE_TEST_GRANTS=$grants \
    cargo nextest run --release -p vestibule --test processes --features "$features" --locked --profile processes many::
if [[ -z $write ]]; then exit; fi
python3 - "$rows" docs/stores.md "$grants" <<'PYTHON'
import datetime, os, re, subprocess, sys

rows, document, grants = open(sys.argv[1]).read(), sys.argv[2], sys.argv[3]
cpu = re.search(r"model name\s*: (.*)", open("/proc/cpuinfo").read())
memory = int(re.search(r"MemTotal:\s*(\d+)", open("/proc/meminfo").read())[1]) / 2**20
redis = re.search(r"v=(\S+)", subprocess.run(["redis-server", "--version"], capture_output=True, text=True).stdout)[1]
said = (
    f"`tests/stores/many.sh --write {grants}`, {datetime.date.today()}: release build, {os.cpu_count()} × "
    f"{cpu[1].strip() if cpu else 'unknown CPU'}, {memory:.0f} GiB of memory; Redis {redis} with its append-only file.\n\n"
    "| store | grants in it | authorize, p50 | token, p50 | refresh, p50 | memory of Vestibule (PSS) |\n"
    "|---|---|---|---|---|---|\n"
)
begin, end = "<!-- written by tests/stores/many.sh --write -->\n", "<!-- end -->\n"
text = open(document).read()
before, rest = text.split(begin)
after = rest.split(end, 1)[1]
open(document, "w").write(before + begin + "\n" + said + rows + "\n" + end + after)
PYTHON
