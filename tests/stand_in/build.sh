#!/usr/bin/env bash
# Builds the stand-ins in OUT, for what PROVIDER is linked against. See README.md.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
out=$1 provider=$2
include=${CUDA_HOME:-${AUTOTUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/autotune}/cuda-13.0}/include
mkdir -p "$out"

# What the provider asks of a library, and isn't written in SOURCE, says that all is well.
build() { # LIBRARY SOURCE
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
    cc -w -shared -fPIC -O1 -I"$include" -Wl,-soname,"$library" -Wl,--version-script="$work/versions" \
        -o "$out/$library" "$work/all.c"
    rm -r "$work"
}

build libcudart.so.13 "$here/runtime.c"
build libcublas.so.13 "$here/blas.c"
build libcublasLt.so.13 "$here/blas_lt.c"
build libcurand.so.10 /dev/null
cc -w -shared -fPIC -O1 -Wl,-soname,libcuda.so.1 -o "$out/libcuda.so.1" "$here/driver.c"
