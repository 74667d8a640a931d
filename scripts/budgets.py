"""Whether budgets of time are kept: twenty runs of different suites, and by how much each was over.

    python3 scripts/budgets.py [PROGRAM]

Prints a line for each, and fails if one took more than a tenth longer than it was given. Run `autotune` once before, so that nothing has to be
fetched. Needs the release build, or another PROGRAM, and 20 minutes; the machine needn't be quiet.
"""
import pathlib, subprocess, sys, tempfile, time

ROOT = pathlib.Path(__file__).resolve().parent.parent
MODELS = ROOT / "tests/fixtures/models"
KNOBS = 'backends = ["candle", "ort"]\nknobs = { batch_size = [1, 8, 64], dtype = ["fp32", "int8"], order = ["arrival", "length"] }\n'


def stages(folder):
    """A suite of two small models that share a budget."""
    text = 'corpus = { synthetic = { documents = 400, queries = 20 } }\nmeasure = { time = "200ms" }\n'
    for task, model in [("embed", "bert-embed-mean"), ("rerank", "bert-rerank")]:
        text += f'[[stages]]\ntask = "{task}"\nmodel = "{MODELS / model}"\n{KNOBS}'
    file = pathlib.Path(folder) / "two-stages.toml"
    file.write_text(text)
    return file


def runs(folder):
    grid = ROOT / "results/grids/two-cores.toml"
    for seconds in [30, 45, 60, 90, 120]:
        yield seconds, ["--suite", "minilm"]
    for seconds in [60, 90]:
        yield seconds, ["--suite", "minilm-quality"]
    for seconds in [30, 60]:
        yield seconds, ["--suite", grid]
    for seconds in [20, 40]:
        yield seconds, ["--suite", stages(folder)]
    for model in ["bert-embed-cls", "mpnet-embed", "modernbert-embed", "roberta-embed"]:
        yield 25, ["--suite", "minilm", "--model", MODELS / model]
    for search in ["grid", "random"]:
        yield 40, ["--suite", "minilm", "--search", search]
    yield 40, ["--suite", "minilm", "--no-confirm"]
    yield 40, ["--suite", "minilm", "--rounds", "1"]
    yield 40, ["--suite", "minilm", "--backend", "candle", "--set", "batch_size=1,4,16,64", "--set", "num_workers=1,2"]


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else ROOT / "target/release/autotune"
    over = 0
    with tempfile.TemporaryDirectory() as folder:
        for number, (seconds, arguments) in enumerate(runs(folder)):
            command = [program, "--gpu", "cpu", "--quiet", "--budget", f"{seconds}s",
                       "--out", f"{folder}/{number}", *arguments]
            begun = time.monotonic()
            code = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode
            share = (time.monotonic() - begun) / seconds
            over += share > 1.1 or code not in (0, 4)
            shown = " ".join(str(argument).replace(f"{ROOT}/", "") for argument in arguments)
            print(f"{share:5.2f} of {seconds:3} s, exit {code}: {shown}", flush=True)
    sys.exit(f"{over} took more than a tenth longer, or failed" if over else 0)


main()
