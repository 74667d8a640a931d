"""Ratios of candidates side by side: `python3 scripts/ratios.py trials.csv "candle fp32 / ort fp32" …`

A candidate is named by words that stand in its row: its backend, and values of its knobs, such as `batch_size=8`. Each
round is compared by itself, since rounds lie minutes apart; shown are the median of the rounds' ratios, and all of them.
"""
import csv, statistics, sys


def is_meant(row, words):
    values = set(row.values()) | {f"{name}={value}" for name, value in row.items()}
    return row["backend"] == words[0] and all(word in values for word in words[1:])


def by_round(rows, name):
    found = [row for row in rows if is_meant(row, name.split())]
    ids = {row["candidate"] for row in found}
    if len(ids) != 1:
        sys.exit(f"{name!r} names {len(ids)} candidates, not one")
    # What is below a limit of quality is measured in the first round only.
    return {row["round"]: float(row["docs_per_s"]) for row in found if row["docs_per_s"]}


def main(path, pairs):
    rows = list(csv.DictReader(open(path, encoding="utf-8")))
    for pair in pairs:
        left, right = (by_round(rows, name.strip()) for name in pair.split("/"))
        ratios = [left[key] / right[key] for key in sorted(left) if key in right]
        each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
        print(f"{statistics.median(ratios):5.2f}  {pair}  (rounds: {each})")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
