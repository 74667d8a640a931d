#!/usr/bin/env bash
# Runs a suite with ten seeds, and says how often two runs differ by more than their intervals.
#
#     scripts/repeats.sh [SUITE]         demo, if none is named; needs the release build
set -euo pipefail
suite=${1:-demo}
program=$(cd "$(dirname "$0")/.." && pwd)/target/release/autotune
runs=$(mktemp -d)
trap 'rm -r "$runs"' EXIT
for seed in 0 1 2 3 4 5 6 7 8 9; do
    "$program" --suite "$suite" --seed "$seed" --quiet --out "$runs/$seed" >/dev/null
done
python3 - "$runs" <<'PYTHON'
import itertools, json, pathlib, sys
figures = {}
for run in sorted(pathlib.Path(sys.argv[1]).iterdir()):
    for stage in json.loads((run / "best.json").read_text())["stages"]:
        for candidate in stage["candidates"]:
            figure = candidate["figures"].get("throughput")
            if figure:
                figures.setdefault((stage["name"], candidate["id"]), []).append(figure)
pairs = apart = 0
worst = factor = 0.0
for own in figures.values():
    two = list(itertools.combinations(own, 2))
    # One round has no interval, and is told apart from nothing.
    differ = sum("low" in a and "low" in b and (a["high"] < b["low"] or b["high"] < a["low"]) for a, b in two)
    pairs, apart = pairs + len(two), apart + differ
    worst = max(worst, differ / max(len(two), 1))
    factor = max([factor] + [max(a["value"] / b["value"], b["value"] / a["value"]) for a, b in two])
print(f"{len(figures)} candidates, {pairs} pairs: {apart} apart ({apart / pairs:.2%}), {worst:.1%} of a candidate's at worst;"
      f" figures differ by a factor of {factor:.3f} at most")
PYTHON
