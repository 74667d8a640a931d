"""How near the best the default suite comes within its two minutes: a run that measures everything, and others beside it.

    python3 scripts/two-minutes.py [RUNS]

Runs `minilm` whole, four rounds of all that it has, and then RUNS times (ten, if no number is given) as a new user does. Each of these is a line of
results/reference/search/two-minutes.jsonl, which is written anew; what each has chosen is judged by the run that measured everything. Prints a table. Needs the
release build and 35 quiet minutes.
"""
import json, pathlib, re, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
LINES = ROOT / "results/reference/search/two-minutes.jsonl"
PROGRAM = ROOT / "target/release/autotune"
WHOLE = ["--search", "grid", "--rounds", "4", "--budget", "1h", "--no-confirm"]


def run(folder, *arguments):
    """What a run has found, and the seconds that it took."""
    begun = time.monotonic()
    command = [PROGRAM, "--suite", "minilm", "--gpu", "cpu", "--quiet", "--out", folder, *arguments]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return json.loads((pathlib.Path(folder) / "best.json").read_text())["stages"][0], time.monotonic() - begun


def precision(candidate):
    return f"{candidate['candidate']['backend']} {candidate['candidate']['knobs']['dtype']}"


def measured(stage):
    """The throughput of all that have one and may win."""
    able = [candidate for candidate in stage["candidates"] if candidate["verdict"] != "excluded"]
    return {candidate["id"]: candidate["figures"]["throughput"]["value"] for candidate in able if "throughput" in candidate["figures"]}


def judged(stage, seconds, figures, precisions):
    """What one run comes to, by the figures of the run that measured everything."""
    candidates = stage["candidates"]
    winner, gain = candidates[0]["id"], stage["gain"] or {}
    seen = {precision(candidate) for candidate in candidates}
    tied = [] if winner not in figures else [figures.get(candidate["id"], 0) / figures[winner] for candidate in candidates if candidate["verdict"] == "tied"]
    return {
        "winner": candidates[0]["candidate"],
        # What the whole run excludes is no good choice.
        "of_the_best": figures.get(winner, 0) / max(figures.values()),
        "precisions_missed": sorted(precisions - seen),
        "gain": [gain.get(part) for part in ("low", "value", "high")],
        "slowest_tied": min(tied, default=None),
        "seconds": seconds,
    }


def main():
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    name = re.search(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    lines = []
    with tempfile.TemporaryDirectory() as place:
        whole, _ = run(f"{place}/whole", *WHOLE)
        figures = measured(whole)
        precisions = {precision(candidate) for candidate in whole["candidates"]}
        for seed in range(runs):
            stage, seconds = run(f"{place}/{seed}", "--seed", str(seed))
            line = {**judged(stage, seconds, figures, precisions), "seed": seed, "processor": name[1] if name else "unknown"}
            lines.append(line)
            print(json.dumps(line), flush=True)
            LINES.parent.mkdir(parents=True, exist_ok=True)
            LINES.write_text("".join(json.dumps(line) + "\n" for line in lines))
    near = sum(line["of_the_best"] >= 0.95 for line in lines)
    known = sum(None not in line["gain"] and (line["gain"][2] - line["gain"][0]) / 2 <= 0.1 * line["gain"][1] for line in lines)
    tied = sum(line["slowest_tied"] is not None and line["slowest_tied"] < 0.9 for line in lines)
    print(f"{near} of {runs} within 5% of the best, {known} know their gain to 10%, {tied} call tied what is over 10% slower")


main()
