"""Real gates on this machine: how often they give a false alarm, and how often they find what is really slower.

    python3 scripts/gate-experiment.py [MINUTES]

Builds a program that is slower (results/reference/gate/slower.patch adds work to candle's engine), and runs gates in turn: the program
beside itself, and beside the one that is 5% or 10% slower. Each is a line of results/reference/gate/gates.jsonl. What is there is not run
again, so the experiment goes on where it was broken off, with the revision that it was begun with. Prints a table of what is there. Needs
the release build. To measure a newer revision, remove gates.jsonl first.
"""
import json, os, pathlib, re, shutil, signal, statistics, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
FOLDER = ROOT / "results/reference/gate"
LINES = FOLDER / "gates.jsonl"
TARGET = ROOT / "target/gate-experiment"
# How many gates of each kind there are to be, by how much slower the new arm is.
WANTED = {0.0: 100, 0.05: 30, 0.10: 30}
SETTING = ["--suite", str(FOLDER / "suite.toml"), "--gpu", "cpu", "--time", "24s", "--json", "--quiet"]


def build():
    """The program as it is, and the same with the patch, compiled in the same way."""
    slower, same = (TARGET / f"{name}-{revision()}" for name in ("slower", "same"))
    if slower.exists() and same.exists():
        return same, slower
    release = ROOT / "target/release"
    seeded = TARGET / "release"
    if not seeded.exists():
        seeded.mkdir(parents=True)
        for part in (".fingerprint", "build", "deps"):
            subprocess.run(["cp", "-pR", release / part, seeded], check=True)
    with tempfile.TemporaryDirectory() as place:
        tree = pathlib.Path(place) / "tree"
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "--quiet", "--detach", str(tree), revision()], check=True)
        try:
            cargo = ["cargo", "build", "--release", "--locked", "--quiet"]
            environment = {**os.environ, "CARGO_TARGET_DIR": str(TARGET)}
            for name, patched in ((same, False), (slower, True)):
                if patched:
                    subprocess.run(["git", "-C", str(tree), "apply", str(FOLDER / "slower.patch")], check=True)
                subprocess.run(cargo, cwd=tree, env=environment, check=True)
                shutil.copy2(seeded / "autotune", name)
        finally:
            subprocess.run([*git, "remove", "--force", str(tree)], check=False)
    return same, slower


def revision():
    """That of the gates that are there, or else the last commit that changed what is compiled."""
    if begun := lines():
        return begun[0]["revision"]
    sources = ["Cargo.lock", "Cargo.toml", "build.rs", "src", "suites", "worker"]
    return subprocess.run(["git", "-C", str(ROOT), "log", "-1", "--format=%h", "--", *sources],
                          capture_output=True, text=True, check=True).stdout.strip()


def processor():
    names = re.findall(r"model name\s*:\s*(.*)", pathlib.Path("/proc/cpuinfo").read_text())
    return f"{names[0]}, {len(names)} cores" if names else "unknown"


def gate(same, slower, share):
    """One gate: the program beside itself, or beside the slower one."""
    # Both have the variable, and only the slower program knows it.
    start = time.time()
    ran = subprocess.run([same, "gate", "--base-bin", same, "--new-bin", slower if share else same, *SETTING],
                         capture_output=True, text=True, env={**os.environ, "SLOWER": str(share)})
    if ran.returncode not in (0, 5, 6):
        sys.exit(f"a gate ended with {ran.returncode}: {ran.stderr}")
    stage = json.loads(ran.stdout)["stages"][0]
    calibration = stage["calibration"] or {}
    figures = {figure["figure"]: figure["ratio"]["value"] for figure in stage["figures"]}
    return {"slower": share, "verdict": stage["verdict"], "time": figures.get("time"), "pairs": len(stage["pairs"]),
            "dropped": len(stage["dropped"]), "noise": calibration.get("noise"), "smallest": calibration.get("smallest"),
            "seconds": round(time.time() - start, 1), "revision": revision(), "processor": processor(),
            "sentence": stage["sentence"]}


def lines():
    return [json.loads(line) for line in LINES.read_text().splitlines()] if LINES.exists() else []


def next_share(done):
    """Kinds take turns, in proportion to how many of each there are to be. A gate that others disturbed is run again."""
    part = {share: sum(line["slower"] == share and line["verdict"] != "invalid" for line in done) / count
            for share, count in WANTED.items()}
    share = min(part, key=part.get)
    return share if part[share] < 1 else None


def table(done):
    print("| the new arm | gates | regression | pass or improved | can't tell | invalid | pairs, median | noise a pair | seconds |")
    print("|---|---|---|---|---|---|---|---|---|")
    for share in WANTED:
        own = [line for line in done if line["slower"] == share]
        if not own:
            continue
        count = lambda *verdicts: sum(line["verdict"] in verdicts for line in own)
        middle = lambda name: statistics.median(line[name] for line in own if line[name] is not None)
        name = f"{share:.0%} slower" if share else "the same program"
        print(f"| {name} | {len(own)} | {count('regression')} | {count('pass', 'improved')} | {count('ambiguous')} | {count('invalid')}"
              f" | {middle('pairs'):.0f} | {middle('noise'):.1%} | {middle('seconds'):.0f} |")


def main():
    # So that the worktree goes, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    until = time.time() + 60 * float(sys.argv[1]) if len(sys.argv) > 1 else float("inf")
    same, slower = build()
    done = lines()
    while time.time() < until and (share := next_share(done)) is not None:
        done.append(gate(same, slower, share))
        with LINES.open("a") as file:
            file.write(json.dumps(done[-1]) + "\n")
        print(f"{len(done)} of {sum(WANTED.values())}: {done[-1]['slower']:.0%} slower: {done[-1]['sentence']}", file=sys.stderr)
    table(done)


if __name__ == "__main__":
    main()
