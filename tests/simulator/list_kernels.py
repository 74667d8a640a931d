"""Writes the C++ file that compiles one .cu file of kernels for the processor.

Usage: list_kernels.py KERNELS.cu OUT.cpp SIMULATOR_FOLDER

The file wraps the kernels in an unnamed namespace, where no function is shared
between files (only so are all the static arrays of a file in its one .bss
section, which build.sh makes the section of shared memory), and registers each `extern "C" __global__` function by its name. The
names are looked for in the preprocessed text, so macros may define kernels.
"""

import re
import subprocess
import sys

MARKER = "simulated_global_marker"


def c_linkage_blocks(text):
    """The spans of `extern "C" { ... }`."""
    for match in re.finditer(r'extern\s*"C"\s*\{', text):
        depth = 1
        at = match.end()
        while depth and at < len(text):
            depth += {"{": 1, "}": -1}.get(text[at], 0)
            at += 1
        yield match.end(), at


def kernel_names(text):
    blocks = list(c_linkage_blocks(text))
    names = []
    for match in re.finditer(rf"{MARKER}\b[^;{{}}()]*?\bvoid\b[^;{{}}()]*?\b(\w+)\s*\(", text):
        before = text[max(0, match.start() - 200) : match.start()]
        declared = re.search(r'extern\s*"C"\s*(?:__attribute__\s*\(\(.*?\)\)\s*|static\s+|inline\s+)*$', before)
        inside = any(start <= match.start() < end for start, end in blocks)
        if (declared or inside) and match.group(1) not in names:
            names.append(match.group(1))
    return names


def main():
    source, out, simulator = sys.argv[1:]
    text = subprocess.run(
        ["g++", "-std=c++17", "-E", "-P", "-x", "c++", "-DAUTOTUNE_SIMULATED", "-DSIMULATED_LIST_KERNELS",
         f"-I{simulator}", source],
        check=True, capture_output=True, text=True,
    ).stdout
    names = kernel_names(text)
    if MARKER in text and not names:
        print(f'simulator: {source} has no extern "C" __global__ function', file=sys.stderr)
    with open(out, "w") as file:
        file.write('#include "kernels.h"\n\nnamespace {\n')
        file.write(f'#include "{source}"\n')
        for name in names:
            file.write(f"SIMULATED_KERNEL({name})\n")
        file.write("}\n")


main()
