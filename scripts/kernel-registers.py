"""What NVIDIA's assembler makes of the kernels: registers, shared memory, spills, for each kind of card.

    kernel-registers.py            compiles and prints docs/KERNELS.md; fails if a kernel spills registers
    kernel-registers.py --check    fails as well if docs/KERNELS.md isn't that: it must be of these sources and this toolkit, and
                                   what it says of one kind of card is made again

Needs nvcc and ptxas of a CUDA toolkit: eval "$(scripts/cuda-toolkit.sh)".
"""
import hashlib, os, re, subprocess, sys, tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

CARDS = {"75": "T4, RTX 20", "80": "A100", "86": "RTX 30, A10G", "89": "L4, RTX 40", "90": "H100", "120": "RTX 50"}
ROOT = Path(__file__).resolve().parent.parent
KERNELS = ROOT / "worker/src/backend/candle/cuda/kernels"
SOURCE = KERNELS / "network.cu"
TOOLKIT = ROOT / "scripts/cuda-toolkit.txt"
# Made again by each check: the most common kind.
CHECKED = "86"
DOCUMENT = ROOT / "docs/KERNELS.md"
TOOLS = Path(os.environ["CUDA_HOME"]) / "bin" if "CUDA_HOME" in os.environ else Path()


def assembled(capability):
    """Registers and bytes of spills of each kernel."""
    with tempfile.TemporaryDirectory() as folder:
        ptx = Path(folder) / "network.ptx"
        # As worker/build.rs compiles them.
        subprocess.run([TOOLS / "nvcc", "--ptx", "-std=c++17", "-O3", f"-arch=compute_{capability}", "-o", ptx, SOURCE], check=True)
        done = subprocess.run([TOOLS / "ptxas", "-v", f"-arch=sm_{capability}", "-o", "/dev/null", ptx],
                              check=True, capture_output=True, text=True)
    kernels, name = {}, None
    for line in done.stderr.splitlines():
        if found := re.search(r"Compiling entry function '(\w+)'", line):
            name = found[1]
            kernels[name] = [0, 0]
        elif found := re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", line):
            kernels[name][1] = int(found[2]) + int(found[3])
        elif found := re.search(r"Used (\d+) registers", line):
            kernels[name][0] = int(found[1])
    # Without tensor cores that take asynchronous copies their attention is compiled to nothing.
    return {name: found for name, found in kernels.items() if int(capability) >= 80 or not re.match(r"attend(_by_distance)?_b?f16_", name)}


def digest():
    """What registers depend on: the kernels' sources, and the toolkit."""
    files = sorted(KERNELS.glob("*.cu*")) + [TOOLKIT]
    return hashlib.sha256(b"".join(file.name.encode() + b"\0" + file.read_bytes() for file in files)).hexdigest()


def spilled(kernels, capability):
    return [f"{name} on {capability}: {found[1]} bytes" for name, found in kernels.items() if found[1]]


def check():
    text = DOCUMENT.read_text()
    make = f"scripts/kernel-registers.py >docs/{DOCUMENT.name}"
    if digest() not in text:
        sys.exit(f"{DOCUMENT.name} is of other kernels, or of another toolkit: {make}")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| ")]
    column = next(place for place, title in enumerate(rows[0]) if title.startswith(f"{CHECKED[:-1]}.{CHECKED[-1]} "))
    said = {row[0].strip("`"): row[column] for row in rows[1:]}
    kernels = assembled(CHECKED)
    if {name: str(found[0]) for name, found in kernels.items()} != {name: cell for name, cell in said.items() if cell != "–"}:
        sys.exit(f"{DOCUMENT.name} is not what the kernels are: {make}")
    if spills := spilled(kernels, CHECKED):
        sys.exit("registers are spilled: " + ", ".join(spills))


def main():
    if "--check" in sys.argv:
        return check()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        by_card = dict(zip(CARDS, threads.map(assembled, CARDS)))
    names = sorted({name for kernels in by_card.values() for name in kernels})
    lines = ["# The CUDA kernels as they are assembled", "",
             "Registers of a thread, by compute capability, as `ptxas -v` of CUDA 13.0 counts them; no kernel spills one. A dash:",
             "not used on that card: attention on tensor cores begins with 8.0. Made by `scripts/kernel-registers.py`; CI makes one column",
             "again and compares. Sources and toolkit have the SHA-256", "", f"    {digest()}", "",
             "| kernel | " + " | ".join(f"{c[:-1]}.{c[-1]} ({card})" for c, card in CARDS.items()) + " |",
             "|---|" + "---|" * len(CARDS)]
    for name in names:
        cells = [str(by_card[c][name][0]) if name in by_card[c] else "–" for c in CARDS]
        lines.append(f"| `{name}` | " + " | ".join(cells) + " |")
    print("\n".join(lines))
    spills = [line for card, kernels in by_card.items() for line in spilled(kernels, card)]
    if spills:
        sys.exit("registers are spilled: " + ", ".join(spills))
    count = sum(map(len, by_card.values()))
    print(f"{count} kernels on {len(CARDS)} kinds of cards, no spills", file=sys.stderr)


main()
