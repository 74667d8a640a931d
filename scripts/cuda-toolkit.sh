#!/usr/bin/env bash
# Sees to a CUDA toolkit that `cargo build --features cuda` can use, and prints the variables that it needs:
#
#     eval "$(scripts/cuda-toolkit.sh)"
#
# A toolkit that is installed (nvcc on PATH, or CUDA_HOME) is taken as it is. Otherwise one is made of NVIDIA's wheels on
# PyPI, pinned by hash (cuda-toolkit.txt, some 700 MB to fetch, 1.2 GB unpacked). Neither a driver nor a GPU is needed:
# the link is made against an empty stub of the driver's library, as NVIDIA's own toolkits have it in lib/stubs.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)

say() { printf '%s\n' "$*" >&2; }

make_toolkit() { # FOLDER
    local folder=$1 unfinished=$1.unfinished-$$
    test "$(uname -sm)" = "Linux x86_64" || { say "wheels of the toolkit are pinned for x86-64 Linux only: install CUDA 12.4 or later, and set CUDA_HOME"; exit 1; }
    say "making a CUDA toolkit of wheels in $folder"
    mkdir -p "$unfinished/wheels"
    # shellcheck disable=SC2064 # The name is filled in now: later there is none.
    trap "rm -rf '$unfinished'" EXIT
    python3 -m pip download --quiet --disable-pip-version-check --no-cache-dir --no-deps --only-binary=:all: \
        --require-hashes --requirement "$here/cuda-toolkit.txt" --dest "$unfinished/wheels" >&2
    for wheel in "$unfinished"/wheels/*.whl; do
        python3 -m zipfile -e "$wheel" "$unfinished/all"
        rm "$wheel"
    done
    local toolkit=$unfinished/all/nvidia/cu13
    # A zip made by pip's tools loses the permission to run.
    chmod +x "$toolkit"/bin/* "$toolkit"/nvvm/bin/*
    # The linker looks for names without a version.
    local library
    for library in "$toolkit"/lib/lib*.so.*; do
        ln -sf "$(basename "$library")" "${library%%.so.*}.so"
    done
    ln -s lib "$toolkit/lib64"
    mkdir "$toolkit/lib/stubs"
    cc -shared -nostdlib -Wl,-soname,libcuda.so.1 -o "$toolkit/lib/stubs/libcuda.so" -x c /dev/null
    mkdir -p "$(dirname "$folder")"
    # Somebody else may have been faster.
    mv -T "$toolkit" "$folder" 2>/dev/null || test -x "$folder/bin/nvcc"
}

if [ -n "${CUDA_HOME:-}" ] && [ -x "$CUDA_HOME/bin/nvcc" ]; then
    home=$CUDA_HOME
elif found=$(command -v nvcc); then
    home=$(cd "$(dirname "$(readlink -f "$found")")/.." && pwd)
else
    home=${AUTOTUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/autotune}/cuda-13.0
    test -x "$home/bin/nvcc" || make_toolkit "$home"
fi

# Without a GPU to ask, the kernels are built for the oldest card that has the tensor cores they use; later ones compile
# what they need of it when they load it.
capability=${CUDA_COMPUTE_CAP:-$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2>/dev/null | head -n 1 | tr -d . || true)}
printf 'export CUDA_HOME=%q\n' "$home"
printf 'export PATH=%q:"$PATH"\n' "$home/bin"
printf 'export CUDA_COMPUTE_CAP=%q\n' "${capability:-80}"
