#!/usr/bin/env bash
# Tests the CUDA worker without a GPU: has the plain program build it, as it does on a user's machine, starts it on the
# simulated device of tests/simulator, and runs there what can tell right from wrong.
#
#     scripts/simulated-gpu.sh           all of it
#     scripts/simulated-gpu.sh COMMAND…  one command on a machine with the simulated card (needs one run of all of it before)
set -euo pipefail
cd "$(dirname "$0")/.."
simulator=target/simulator
kernels=worker/src/backend/candle/cuda/kernels
# The simulated device's.
capability=9.0

# What is built here is for the simulator alone, so that the worker has a cache of its own; what is fetched is everybody's.
fetched=${AUTOTUNE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/autotune}
export AUTOTUNE_CACHE=$PWD/target/simulated-cache
mkdir -p "$AUTOTUNE_CACHE"
for part in libraries models toolkits; do
    mkdir -p "$fetched/$part"
    ln -sfn "$fetched/$part" "$AUTOTUNE_CACHE/$part"
done

# on_card COMMAND…: what a machine with the card has: a driver, and nothing of CUDA besides.
on_card() { LD_LIBRARY_PATH=$PWD/$simulator SIMULATED_CUDA_STATE=$(mktemp) "$@"; }
# on_device COMMAND…: for tests that are linked with CUDA themselves, the toolkit's libraries stand behind the simulator's.
on_device() { LD_LIBRARY_PATH=$PWD/$simulator:$CUDA_HOME/lib64:$CUDA_HOME/lib SIMULATED_CUDA_STATE=$(mktemp) "$@"; }
test_binary() { # WHICH…: the path of a test's executable
    cargo test --release --locked --no-run --message-format=json "$@" | python3 -c 'import json, sys
messages = map(json.loads, sys.stdin)
print(*(m["executable"] for m in messages if m.get("executable") and m.get("profile", {}).get("test")))'
}

if [ $# -gt 0 ]; then
    on_card "$@"
    exit
fi

echo "== the simulator's own tests"
bash tests/simulator/self_test.sh
# What nvcc makes of the kernels runs nowhere here: the simulator compiles their sources itself. So it need not be fast, and is
# made in a third of the time, unless the nvcc that is installed is too old for the flag.
if ! nvcc=$(command -v "${CUDA_HOME:+$CUDA_HOME/bin/}nvcc") || "$nvcc" --help | grep -e --Ofast-compile >/dev/null; then
    export NVCC_APPEND_FLAGS=--Ofast-compile=max
fi
echo "== the CUDA worker, built from the sources that the program carries"
cargo build --release --locked
provided=$(AUTOTUNE_WORKER_TARGET=target target/release/autotune setup cuda --capability "$capability")
echo "$provided"
worker=${provided##*, }
readelf --dynamic "$worker" | grep -q '\$ORIGIN/lib'
if readelf --dynamic target/release/autotune | grep -E 'NEEDED.*(cuda|cublas|curand)'; then
    echo "the plain program is linked with CUDA" >&2
    exit 1
fi
bash tests/simulator/build.sh "$simulator" "$kernels" "$worker"

eval "$(scripts/cuda-toolkit.sh)"
export CUDA_COMPUTE_CAP=${capability/./}
of_worker=(--package autotune-worker --features cuda)
own=$(test_binary "${of_worker[@]}" --lib)
networks=$(test_binary "${of_worker[@]}" --test card)
behaviour=$(test_binary --test behaviour)

export AUTOTUNE_TEST_DEVICE=cuda:0 AUTOTUNE_TEST_ENGINES=candle AUTOTUNE_POISON_TRANSFERS=1
echo "== kernels beside the processor's"
on_device "$own" cuda::
echo "== networks on the simulated device, everything as late as it may be"
on_device "$networks"
echo "== batches in every kind of company on it, in an order that is drawn"
SIMULATED_CUDA_SCHEDULE=seed:1 on_device "$networks" company_in_a_batch
echo "== the plain program, which starts the worker on the simulated card"
unset CUDA_HOME CUDA_COMPUTE_CAP
on_card "$behaviour" simulated_card
echo "== kernels with every access checked"
eval "$(scripts/cuda-toolkit.sh)"
CHECKED=1 bash tests/simulator/build.sh "$simulator-checked" "$kernels" "$worker"
simulator=$simulator-checked on_device "$own" cuda::tests
