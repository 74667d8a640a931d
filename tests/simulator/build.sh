#!/usr/bin/env bash
# Builds the libraries that stand in for CUDA's, with the kernels of a folder
# compiled for the processor.
#
#   build.sh OUT_FOLDER [KERNELS_FOLDER [BINARY]]
#
# With a BINARY, each symbol of CUDA that it refers to and the simulator lacks
# becomes a stub that prints its name and aborts. CHECKED=1 also compiles a
# check into each access of a kernel (slow); UNCHECKED=1 leaves out all checks.
# Without a KERNELS_FOLDER only the driver is built, and has no kernels.
set -euo pipefail
export LC_ALL=C

if [ $# -lt 1 ]; then
    sed -n '2,10s/^# \{0,1\}//p' "$0" >&2
    exit 2
fi
here=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
binary=${3:-}
work=$out/objects
mkdir -p "$work/no_kernels"
kernels=$(cd "${2:-$work/no_kernels}" && pwd)

flags=(-std=c++17 -O2 -ftree-vectorize -fPIC -Wall -Wextra -I"$here")
# Type punning and unused helpers are the kernels' good right; a misaligned
# access or an index outside of an array is not.
kernel_flags=(-std=c++17 -O2 -ftree-vectorize -fPIC -w -DAUTOTUNE_SIMULATED -fno-strict-aliasing -fno-threadsafe-statics
    -fsanitize=alignment,bounds -fno-sanitize-recover=all -I"$here" -I"$kernels")
# For long runs of a kernel that is known to be right: as fast as it goes.
if [ -n "${UNCHECKED:-}" ]; then
    kernel_flags=(-std=c++17 -O3 -march=native -ffast-math -fno-finite-math-only -fPIC -w -DAUTOTUNE_SIMULATED -fno-strict-aliasing
        -fno-threadsafe-statics -I"$here" -I"$kernels")
fi
if [ -n "${CHECKED:-}" ]; then
    kernel_flags+=(-fsanitize=thread)
fi

# An object is made anew when its source, or any header, is newer.
newest_header=$(find "$here" "$kernels" \( -name '*.h' -o -name '*.cuh' -o -name 'list_kernels.py' -o -name build.sh \) \
    -printf '%T@ %p\n' | sort -n | tail -1 | cut -d' ' -f2-)
stale() { [ ! -e "$1" ] || [ "$2" -nt "$1" ] || [ "$newest_header" -nt "$1" ]; }

compile() { # SOURCE OBJECT [FLAG...]
    if stale "$2" "$1"; then
        g++ "${flags[@]}" "${@:3}" -c "$1" -o "$2"
    fi
}

objects=()
for source in "$here"/device/*.cpp "$here"/driver/*.cpp; do
    object=$work/$(basename "$(dirname "$source")")_$(basename "$source" .cpp).o
    compile "$source" "$object" -fvisibility=hidden
    objects+=("$object")
done

mode=${CHECKED:+checked}
for source in "$kernels"/*.cu; do
    [ -e "$source" ] || continue
    name=$(basename "$source" .cu)
    object=$work/kernel_${mode:-plain}_$name.o
    if stale "$object" "$source"; then
        python3 "$here/list_kernels.py" "$source" "$work/kernel_$name.cpp" "$here"
        g++ "${kernel_flags[@]}" -fvisibility=hidden -c "$work/kernel_$name.cpp" -o "$object.new"
        # The static arrays are the shared memory of the kernels.
        objcopy --set-section-flags .bss=alloc,load,data,contents --rename-section .bss=simulated_shared \
            "$object.new" "$object"
        rm "$object.new"
    fi
    objects+=("$object")
done

# link NAME PREFIX VERSIONED [OBJECT...]: the library and the stubs of the
# symbols with that prefix.
wanted=$work/wanted
: >"$wanted"
if [ -n "$binary" ]; then
    nm -D --undefined-only "$binary" | awk '{ sub(/@.*/, "", $2); print $2 }' |
        grep -E '^(cu|nvrtc|nvml)[A-Z]|^(cublas|cublasLt|curand)[A-Z]' | sort -u >"$wanted" || true
fi
link() {
    local name=$1 prefix=$2 versioned=$3
    shift 3
    local stubs=$work/stubs_$name.cpp options=()
    if [ "$versioned" = yes ]; then
        # Its symbols carry the library's name as their version, as CUDA's do.
        printf '%s { global: *; };\n' "$name" >"$work/$name.map"
        options+=("-Wl,--version-script=$work/$name.map")
    fi
    local present
    present=$(for object in "$@"; do
        case $object in *.o) nm --defined-only "$object" | awk '{ print $3 }' ;; esac
    done | sort -u)
    printf '#include <cstdio>\n#include <cstdlib>\n' >"$stubs"
    # cublasLt's symbols begin like cublas's.
    grep -E "^$prefix[A-Z]" "$wanted" | grep -Ev "^${prefix}Lt[A-Z]" | comm -23 - <(printf '%s\n' "$present") | while read -r symbol; do
        printf 'extern "C" int %s() {\n    std::fputs("simulator: %s is not simulated\\n", stderr);\n    std::abort();\n}\n' \
            "$symbol" "$symbol"
    done >>"$stubs" || true
    g++ "${flags[@]}" -shared -Wl,-soname,"$name" "${options[@]}" -o "$out/$name" "$stubs" "$@"
    # The name without a number is what a linker looks for.
    ln -sf "$name" "$out/${name%%.so*}.so"
}

link libcuda.so.1 cu no "${objects[@]}" -Wl,-z,defs -ldl
if [ $# -lt 2 ]; then exit; fi

compile "$here/libraries/blas.cpp" "$work/blas.o" -O3 -fvisibility=hidden
compile "$here/libraries/random.cpp" "$work/random.o" -fvisibility=hidden
compile "$here/libraries/nvml.cpp" "$work/nvml.o" -fvisibility=hidden
compile "$here/driver/settings.cpp" "$work/nvml_settings.o" -fvisibility=hidden

link libcublas.so.13 cublas yes "$work/blas.o" -L"$out" -l:libcuda.so.1
link libcublasLt.so.13 cublasLt yes
link libcurand.so.10 curand yes "$work/random.o"
link libnvrtc.so.13 nvrtc yes
link libnvidia-ml.so.1 nvml no "$work/nvml.o" "$work/nvml_settings.o"
