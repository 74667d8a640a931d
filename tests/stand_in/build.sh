#!/usr/bin/env bash
# Builds the stand-ins in OUT, for what PROVIDER is linked against. See README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$1 provider=$2
# Of the CUDA that the provider is built for: its structures are others in CUDA 12.
toolkit=${CUDA_HOME:-${AUTOTUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/autotune}/toolkits/cuda-13.0}/include
include=${STAND_IN_INCLUDE:-$toolkit}
mkdir -p "$out"

# What the provider asks of a library, and isn't written in SOURCE, says that all is well.
build() { # LIBRARY SOURCE [OPTION…]
    local library=$1 source=$2 work
    work=$(mktemp -d)
    {
        echo "#include \"$here/common.h\""
        echo "#include \"$source\""
        nm --dynamic --undefined-only "$provider" | sed -n "s/.* \([A-Za-z0-9_]*\)@$library\$/\1/p" | while read -r name; do
            grep -q "\b$name(" "$source" || echo "long $name() { trace(\"$name\"); return 0; }"
        done
    } >"$work/all.c"
    echo "$library { global: *; };" >"$work/versions"
    cc -w -shared -fPIC -O1 -I"$include" -I"$toolkit" -Wl,-soname,"$library" -Wl,--version-script="$work/versions" \
        -o "$out/$library" "$work/all.c" "${@:3}"
    rm -r "$work"
}

# The driver is the simulated one, with no kernels.
"$here/../simulator/build.sh" "$out"

# By the names that the provider is linked against: those of CUDA 13, or of CUDA 12 with cuFFT and cuDNN.
for library in $(readelf --dynamic "$provider" | sed -n 's/.*NEEDED.*\[\(libcu[^]]*\)\]/\1/p'); do
    case $library in
        libcudart.*) build "$library" "$here/runtime.c" -Wl,-z,defs -L"$out" -l:libcuda.so.1 ;;
        libcublasLt.*) build "$library" "$here/blas_lt.c" ;;
        libcublas.*) build "$library" "$here/blas.c" ;;
        libcuda.so.1) ;;
        *) build "$library" /dev/null ;;
    esac
done
