"""What scripts/gpu-acceptance.sh asks of Python: the card's matrix rate, and what the checks add up to.

    gpu-acceptance.py rate FILE            measures products of PyTorch, as large as fill a card, in fp16
    gpu-acceptance.py summary OUT [WHY]    reads OUT's runs, prints a table, and writes it to OUT/summary.md
    gpu-acceptance.py keep OUT             copies the table, the rows and the plots to results/reference/CARD/
"""
import csv, json, re, shutil, statistics, sys
from pathlib import Path

# The marks that the project has set itself for multilingual-e5-large at 512 tokens in fp16.
BESIDE_SENTENCE_TRANSFORMERS = 1.5
SHARE_OF_MATRIX_RATE = 0.40
NON_BLOCKING = 0.98
MEMORY_PREDICTED_WITHIN = 0.10


def rate(path):
    import torch

    sizes, rates = (4096, 8192), []
    for size in sizes:
        # Random numbers: products of zeros run faster than those of anything else.
        left, right = (torch.randn(size, size, device="cuda", dtype=torch.float16) for _ in range(2))
        times = []
        for _ in range(30):
            begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            begin.record()
            left @ right
            end.record()
            end.synchronize()
            times.append(begin.elapsed_time(end) / 1e3)
        rates.append(2 * size**3 / statistics.median(times[10:]))
    Path(path).write_text(json.dumps({"card": torch.cuda.get_device_name(), "flops": max(rates), "torch": torch.__version__}))
    print(f"{max(rates) / 1e12:.0f} TFLOP/s in fp16, the better of products of {sizes}")


def rows(path):
    if not path.is_file():
        return []
    with open(path, encoding="utf-8") as file:
        return list(csv.DictReader(file))


def number(row, name):
    return float(row[name]) if row.get(name) else None


def by_candidate(rows):
    """The rounds' docs/s of each candidate that works."""
    found = {}
    for row in rows:
        if row["docs_per_s"] and row["status"] in ("ok", "disturbed"):
            found.setdefault(row["candidate"], []).append(row)
    return found


def speed(rows):
    return statistics.median(number(row, "docs_per_s") for row in rows)


def side_by_side(left, right):
    """The median of the rounds' ratios, as far as both were in them."""
    other = {row["round"]: number(row, "docs_per_s") for row in right}
    ratios = [number(row, "docs_per_s") / other[row["round"]] for row in left if row["round"] in other]
    return statistics.median(ratios) if ratios else None


def flops_of_document(tokens, layers=24, width=1024):
    """Of multilingual-e5-large: products with weights, and scores and contexts of attention."""
    return layers * (24 * width**2 * tokens + 4 * width * tokens**2)


def e5_checks(out):
    trials = rows(out / "e5-large" / "trials.csv")
    candidates = by_candidate(trials)
    ours = {key: rows for key, rows in candidates.items() if rows[0]["backend"] in ("candle", "ort")}
    theirs = [rows for rows in candidates.values() if rows[0]["backend"] == "sentence-transformers"
              and rows[0]["batch_size"] == "32"]
    if not ours:
        yield "e5-large", "nothing of ours was measured", False
        return
    for backend in ("candle", "ort"):
        own = [rows for rows in ours.values() if rows[0]["backend"] == backend]
        if not own:
            continue
        best = max(own, key=speed)
        said = ", ".join(f"{knob} {best[0][knob]}" for knob in ("batch_size", "padding", "transfers"))
        yield f"{backend}, best", f"{speed(best):.1f} docs/s ({said})", None
        if theirs:
            ratio = side_by_side(best, theirs[0])
            if ratio is not None:
                yield (f"{backend} beside sentence-transformers at its defaults", f"{ratio:.2f} ×",
                       ratio >= BESIDE_SENTENCE_TRANSFORMERS)
        rate = out / "rate.json"
        if rate.is_file():
            measured = json.loads(rate.read_text())["flops"]
            tokens = number(best[0], "tokens_per_s") / number(best[0], "docs_per_s")
            share = speed(best) * flops_of_document(tokens) / measured
            yield f"{backend}, share of the matrix rate", f"{share:.0%} of {measured / 1e12:.0f} TFLOP/s", share >= SHARE_OF_MATRIX_RATE


def transfer_checks(out):
    for run in ("e5-large", "e5-sweep", "minilm"):
        pairs = {}
        for candidate in by_candidate(rows(out / run / "trials.csv")).values():
            first = candidate[0]
            key = tuple(first.get(knob, "") for knob in ("backend", "dtype", "batch_size", "max_tokens", "padding", "cuda_graph"))
            pairs.setdefault(key, {})[first.get("transfers")] = candidate
        ratios = [side_by_side(pair["non_blocking"], pair["blocking"]) for pair in pairs.values()
                  if "non_blocking" in pair and "blocking" in pair]
        ratios = [ratio for ratio in ratios if ratio is not None]
        if ratios:
            yield (f"{run}: non-blocking beside blocking", f"{min(ratios):.2f} to {max(ratios):.2f} × in {len(ratios)} pairs",
                   min(ratios) >= NON_BLOCKING)


def share_checks(out):
    for row in rows(out / "shares" / "trials.csv"):
        name = f"share {row['memory_fraction']}, {row['backend']}, batch {row['batch_size']}"
        cap, seen = number(row, "cap_bytes"), number(row, "process_vram_bytes") or number(row, "peak_vram_bytes")
        if row["status"] == "ok" and not cap:
            continue  # the default, which may take all
        if row["status"] == "out of memory":
            yield name, "out of memory, and said so", True
        elif cap and seen:
            yield name, f"{seen / 2**30:.2f} of {cap / 2**30:.2f} GiB", seen <= cap
        else:
            yield name, f"{row['status']}: {row['reason'][:80]}", False


def prediction_checks(out):
    for run in ("shares", "e5-large", "e5-sweep"):
        off = []
        for row in rows(out / run / "trials.csv"):
            predicted, seen = number(row, "predicted_vram_bytes"), number(row, "process_vram_bytes") or number(row, "peak_vram_bytes")
            if row["backend"] == "candle" and predicted and seen and row["status"] == "ok":
                off.append(predicted / seen - 1)
        if off:
            worst = max(off, key=abs)
            yield f"{run}: predicted peak memory", f"off by {worst:+.0%} at worst, of {len(off)}", abs(worst) <= MEMORY_PREDICTED_WITHIN


def summary(out, rehearsal):
    out = Path(out)
    table = []
    for row in csv.reader(open(out / "checks.tsv"), delimiter="\t"):
        name, result, seconds = row
        table.append((name, f"{seconds} s", result == "pass", result))
    for checks in (share_checks, e5_checks, transfer_checks, prediction_checks):
        table += [(name, figure, met, None) for name, figure, met in checks(out)]
    words = {True: "met", False: "missed", None: ""}
    lines = ["| check | figure | |", "|---|---|---|"]
    lines += [f"| {name} | {figure} | {said or words[met]} |" for name, figure, met, said in table]
    rate = out / "rate.json"
    card = json.loads(rate.read_text())["card"] if rate.is_file() else "unknown"
    head = f"# GPU acceptance on {card}\n\n"
    if rehearsal:
        head += "**A rehearsal with tiny models: none of these figures means anything.**\n\n"
    text = head + "\n".join(lines) + "\n"
    (out / "summary.md").write_text(text)
    print(text)


def keep(out):
    out = Path(out)
    card = out / "rate.json"
    name = json.loads(card.read_text())["card"] if card.is_file() else "unknown"
    folder = Path("results/reference") / re.sub(r"[^a-z0-9]+", "-", name.lower().replace("nvidia", "")).strip("-")
    for file in [*out.glob("*.md"), *out.glob("*.tsv"), *out.glob("*.json"), *out.glob("*.log"), *out.glob("*/trials.csv"),
                 *out.glob("*/best.json"), *out.glob("*/run.json"), *out.glob("*/.env.optimized"), *out.glob("*/plots/*.png")]:
        to = folder / file.relative_to(out)
        to.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, to)
    print(f"kept in {folder}")


if __name__ == "__main__":
    {"rate": rate, "keep": keep, "summary": lambda out, rehearsal="": summary(out, rehearsal)}[sys.argv[1]](*sys.argv[2:])
