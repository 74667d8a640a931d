#!/usr/bin/env bash
# Provides a CUDA toolkit that the CUDA worker can be built with, and prints the variables that cargo needs for that:
#
#     eval "$(scripts/cuda-toolkit.sh)"
#
# A toolkit that is installed (CUDA_HOME, or nvcc on PATH) is taken as it is. Otherwise one is made of NVIDIA's wheels on
# PyPI, pinned by hash (cuda-toolkit.txt, some 700 MB to fetch, 1.2 GB unpacked). Neither a driver nor a GPU is needed: the
# link is made against a stub of the driver's library with every function that its header declares, as NVIDIA's own
# toolkits have it in lib/stubs. `autotune setup cuda` runs this script, too, and shows what it says on stderr.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

say() { printf '%s\n' "$*" >&2; }

make_toolkit() { # FOLDER
    local folder=$1 unfinished=$1.unfinished-$$
    test "$(uname -sm)" = "Linux x86_64" || { say "wheels of the toolkit are pinned for x86-64 Linux only: install CUDA 13.0, and set CUDA_HOME"; exit 1; }
    mkdir -p "$unfinished/wheels"
    # shellcheck disable=SC2064 # The name is filled in now: later there is none.
    trap "rm -rf '$unfinished'" EXIT
    local pins count=0 total wheel
    pins=$(grep '^[^#]' "$here/cuda-toolkit.txt")
    total=$(wc -l <<<"$pins")
    while read -r pin; do
        count=$((count + 1))
        say "CUDA toolkit, part $count of $total: ${pin%% *}"
        printf '%s\n' "$pin" >"$unfinished/pin.txt"
        python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-input --no-deps --only-binary=:all: \
            --timeout 30 --retries 1 --require-hashes --requirement "$unfinished/pin.txt" --dest "$unfinished/wheels" >&2
        for wheel in "$unfinished"/wheels/*.whl; do
            python3 -m zipfile -e "$wheel" "$unfinished/all"
            rm "$wheel"
        done
    done <<<"$pins"
    local toolkit=$unfinished/all/nvidia/cu13
    # A zip made by pip's tools loses the permission to run.
    chmod +x "$toolkit"/bin/* "$toolkit"/nvvm/bin/*
    # The linker looks for names without a version.
    local library
    for library in "$toolkit"/lib/lib*.so.*; do
        ln -sf "$(basename "$library")" "${library%%.so.*}.so"
    done
    ln -s lib "$toolkit/lib64"
    make_stub "$toolkit"
    mkdir -p "$(dirname "$folder")"
    # Somebody else may have been faster.
    mv -T "$toolkit" "$folder" 2>/dev/null || test -x "$folder/bin/nvcc"
}

make_stub() { # TOOLKIT
    mkdir "$1/lib/stubs"
    # Functions begin with `cu` and a capital; types and numbers don't. Each answers CUDA_ERROR_STUB_LIBRARY.
    grep -ohE '\bcu[A-Z][A-Za-z0-9_]*' "$1/include/cuda.h" | sort -u | sed 's/.*/int &(void) { return 34; }/' |
        cc -shared -nostdlib -w -Wl,-soname,libcuda.so.1 -o "$1/lib/stubs/libcuda.so" -x c -
}

# AUTOTUNE_MAKE_TOOLKIT is set where the installed one is newer than the driver.
if [ -n "${AUTOTUNE_MAKE_TOOLKIT:-}" ]; then
    found=
elif [ -n "${CUDA_HOME:-}" ] && [ -x "$CUDA_HOME/bin/nvcc" ]; then
    home=$CUDA_HOME
elif found=$(command -v nvcc); then
    home=$(cd "$(dirname "$(readlink -f "$found")")/.." && pwd)
fi
if [ -z "${home:-}" ]; then
    home=${AUTOTUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/autotune}/toolkits/cuda-13.0
    test -x "$home/bin/nvcc" || make_toolkit "$home"
fi

# Without a GPU to ask, the kernels are built for the oldest card that has the tensor cores they use; later ones compile
# what they need of it when they load it.
capability=${CUDA_COMPUTE_CAP:-$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d . || true)}
printf 'export CUDA_HOME=%q\n' "$home"
printf 'export PATH=%q:"$PATH"\n' "$home/bin"
printf 'export CUDA_COMPUTE_CAP=%q\n' "${capability:-80}"
# candle's kernels are compiled on half of the cores otherwise.
printf 'export CUDAFORGE_THREADS=%q\n' "${CUDAFORGE_THREADS:-$(nproc)}"
