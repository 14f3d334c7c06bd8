"""From the OpenMetrics text format to the one before it (0.0.4), for tools that read nothing else."""
import sys

ENDINGS = {"counter": "_total", "info": "_info"}
lines = sys.stdin.read().splitlines()
kinds = {line.split(" ")[2]: line.split(" ")[3] for line in lines if line.startswith("# TYPE ")}
for line in lines:
    if line == "# EOF" or line.startswith("# UNIT "):
        continue
    if line.startswith("# "):
        _, word, name, rest = line.split(" ", 3)
        ending = ENDINGS.get(kinds[name], "")
        # The older format has no kind for what never changes.
        rest = "gauge" if (word, rest) == ("TYPE", "info") else rest
        line = f"# {word} {name}{ending} {rest}"
    print(line)
