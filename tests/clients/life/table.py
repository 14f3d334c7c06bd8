"""Compares the table of a run with the one in the documents, or puts it there.

    table.py TABLE DOCUMENT [--write]
"""

import difflib
import sys
from pathlib import Path

BEGIN = "<!-- written by tests/clients/run.sh --write -->\n"
END = "<!-- end -->\n"


def main() -> int:
    """1 and the difference, unless they are the same."""
    table, document = Path(sys.argv[1]).read_text(), Path(sys.argv[2])
    before, rest = document.read_text().split(BEGIN)
    written, after = rest.split(END)
    if "--write" in sys.argv[3:]:
        document.write_text(before + BEGIN + table + END + after)
        return 0
    if written == table:
        return 0
    lines = difflib.unified_diff(written.splitlines(), table.splitlines(), document.name, "this run", lineterm="")
    print("what the clients did is not what the document says:", *lines, sep="\n", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
