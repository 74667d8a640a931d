"""Plants changes in the sources, one after the other, and checks that `autotune counts --beside` finds and names them.

    python3 scripts/planted-changes.py            all of results/reference/gate/counts/planted and …/harmless
    python3 scripts/planted-changes.py NAME …     those whose file names contain one of these

Each change is applied to HEAD in a worktree of its own, built, counted with both suites and compared with the counts of HEAD.
A planted one must end with exit code 5, and a line of what there is more of must contain each text that the patch's header
`names:`. A harmless one must end with 0. On two cores the first build takes five minutes, and all others together six.

The table on stdout is Markdown. Exit code 1: a planted change wasn't found or named, a harmless one alarmed, or a patch is at
fault (it doesn't apply any more, or doesn't build), which is then said.

What was built and found is kept in target/planted, so that an interrupted run goes on where it ended. The worktree isn't kept.
CARGO names another cargo.
"""
import hashlib, json, os, signal, subprocess, sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PATCHES = ROOT / "results/reference/gate/counts"
WORK = ROOT / "target/planted"
TREE, BUILD = WORK / "tree", WORK / "build"
# The default suite has one batch in fp32; what it doesn't show is in the other one.
SUITES = {"minilm": "minilm", "more": PATCHES / "more.toml"}
MORE = 5
# Nobody debugs these programs.
ENVIRONMENT = os.environ | {
    "CARGO_TARGET_DIR": str(BUILD),
    "CARGO_PROFILE_DEV_DEBUG": "false",
    "AUTOTUNE_CACHE": str(WORK / "cache"),
}


def run(*command, **options):
    return subprocess.run(command, capture_output=True, text=True, **options)


def git(*arguments, folder=ROOT):
    done = run("git", "-C", folder, *arguments)
    if done.returncode:
        sys.exit(f"git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


class Change:
    def __init__(self, path):
        self.path = path
        self.planted = path.parent.name == "planted"
        text = path.read_text(encoding="utf-8")
        head = text.split("diff --git", 1)[0].splitlines()
        self.names = [line.removeprefix("names:").strip() for line in head if line.startswith("names:")]
        self.does = " ".join(line for line in head if line and not line.startswith("names:"))
        if self.planted and not self.names:
            sys.exit(f"{path}: the header names nothing that has to be found")
        self.digest = hashlib.sha256(text.encode()).hexdigest()

    def apply(self, *options):
        return run("git", "-C", TREE, "apply", *options, self.path)


def build():
    """The program, or what the compiler says."""
    cargo = os.environ.get("CARGO", "cargo")
    done = run(cargo, "build", "--locked", "--bin", "autotune", cwd=TREE, env=ENVIRONMENT)
    if done.returncode:
        sys.exit("\n".join(["it doesn't build:", *done.stderr.splitlines()[-40:]]))
    return BUILD / "debug" / "autotune"


def counted(program, suite, *arguments):
    done = run(program, "counts", "--suite", SUITES[suite], "--replica", *arguments, cwd=WORK, env=ENVIRONMENT)
    if done.returncode not in (0, MORE, 6):
        sys.exit(f"autotune counts of {suite}: exit code {done.returncode}: {done.stderr.strip()}")
    return done


def beside(program, suite):
    """The exit code, and each change on a line of its own."""
    done = counted(program, suite, "--beside", WORK / f"{suite}.json")
    lines = []
    for line in done.stdout.splitlines():
        # A long one goes on below itself.
        if line.startswith(" ") and lines:
            lines[-1] += " " + line.strip()
        elif not line.startswith("→"):
            lines.append(line)
    return {"code": done.returncode, "lines": lines}


def plant(change):
    """What the counts say of a change."""
    try:
        change.apply()
        program = build()
        return {suite: beside(program, suite) for suite in SUITES}
    finally:
        git("checkout", "--quiet", ".", folder=TREE)
        git("clean", "-fdq", folder=TREE)


def judge(change, found):
    """Whether it's as it should be, and what is said of it."""
    lines = [line.split(maxsplit=1) for suite in found.values() for line in suite["lines"]]
    more = [words for mark, words in lines if mark == "more"]
    if not change.planted:
        alarms = [suite for suite in found.values() if suite["code"]]
        said = [words for _, words in lines]
        return not alarms, said[:3] or ["no count has changed"]
    named = [next((line for line in more if name in line), None) for name in change.names]
    missing = [f"not named: {name}" for name, line in zip(change.names, named) if line is None]
    has_code = any(suite["code"] == MORE for suite in found.values())
    return has_code and not missing, [line for line in named if line] + missing


def remove_tree():
    run("git", "-C", ROOT, "worktree", "remove", "--force", TREE)
    run("git", "-C", ROOT, "worktree", "prune")


def main(wanted):
    paths = [path for kind in ("planted", "harmless") for path in sorted((PATCHES / kind).glob("*.patch"))]
    changes = [Change(path) for path in paths if not wanted or any(word in path.name for word in wanted)]
    if not changes:
        sys.exit("no patch has such a name")
    WORK.mkdir(parents=True, exist_ok=True)
    parts = ["src", "worker", "suites", "Cargo.toml", "Cargo.lock", "build.rs"]
    base = [git("rev-parse", *(f"HEAD:{part}" for part in parts)), (PATCHES / "more.toml").read_text()]
    base = hashlib.sha256("".join(base).encode()).hexdigest()
    if git("status", "--porcelain", "--", *parts):
        print("changes that aren't committed are left out", file=sys.stderr)
    kept = WORK / "found.json"
    results = json.loads(kept.read_text()) if kept.is_file() else {}
    if results.get("base") != base:
        results = {"base": base}

    remove_tree()
    git("worktree", "add", "--quiet", "--detach", TREE, "HEAD")
    stale = [f"{change.path.relative_to(ROOT)} doesn't apply any more:\n{done.stderr.strip()}"
             for change in changes if (done := change.apply("--check")).returncode]
    if stale:
        sys.exit("\n".join(stale))
    waiting = [change for change in changes if change.digest not in results]
    if waiting:
        print("HEAD: building", file=sys.stderr)
        program = build()
        for suite in SUITES:
            (WORK / f"{suite}.json").write_text(counted(program, suite, "--json").stdout, encoding="utf-8")
            if beside(program, suite) != {"code": 0, "lines": []}:
                sys.exit(f"{suite}: the counts of HEAD aren't equal twice")
    for change in waiting:
        print(f"{change.path.stem}: building", file=sys.stderr)
        try:
            results[change.digest] = plant(change)
        except SystemExit as error:
            sys.exit(f"{change.path.relative_to(ROOT)}: {error.code}")
        kept.write_text(json.dumps(results))

    failed = 0
    for kind in ("planted", "harmless"):
        of_kind = [change for change in changes if change.planted == (kind == "planted")]
        if not of_kind:
            continue
        print(f"| {kind} | what it does | {' | '.join(SUITES)} | named |\n|---|---|{'---|' * len(SUITES)}---|")
        good = 0
        for change in of_kind:
            found = results[change.digest]
            is_right, said = judge(change, found)
            good += is_right
            codes = " | ".join(str(found[suite]["code"]) for suite in SUITES)
            mark = "" if is_right else "**wrong** "
            print(f"| {change.path.stem} | {change.does} | {codes} | {mark}{'; '.join(said)} |")
        verdict = "found and named" if kind == "planted" else "without an alarm"
        print(f"\n{good} of {len(of_kind)} {verdict}.\n")
        failed += len(of_kind) - good
    return 1 if failed else 0


if __name__ == "__main__":
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    try:
        code = main(sys.argv[1:])
    except KeyboardInterrupt:
        code = 128 + signal.SIGINT
    finally:
        remove_tree()
    sys.exit(code)
