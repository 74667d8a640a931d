#!/usr/bin/env bash
# Tests the CUDA build without a GPU: builds it, starts it on the simulated device of tests/simulator, and runs there what
# can tell right from wrong.
#
#     scripts/simulated-gpu.sh           all of it
#     scripts/simulated-gpu.sh COMMAND…  one command with the CUDA build's binaries on the simulated device
set -euo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/cuda-toolkit.sh)"
simulator=target/simulator
kernels=worker/src/backend/candle/cuda/kernels

# on_device COMMAND…: the toolkit's libraries stand behind the simulator's, which has its own of what talks to a driver.
on_device() { LD_LIBRARY_PATH=$PWD/$simulator:$CUDA_HOME/lib64:$CUDA_HOME/lib SIMULATED_CUDA_STATE=$(mktemp) "$@"; }
test_binary() { # WHICH…: the path of a test's executable
    cargo test --release --locked --features cuda --no-run --message-format=json "$@" | python3 -c 'import json, sys
messages = map(json.loads, sys.stdin)
print(*(m["executable"] for m in messages if m.get("executable") and m.get("profile", {}).get("test")))'
}

if [ $# -gt 0 ]; then
    on_device "$@"
    exit
fi

echo "== the simulator's own tests"
bash tests/simulator/self_test.sh
echo "== the CUDA build"
cargo build --release --locked --features cuda
mkdir -p target/cuda
cp target/release/autotune target/cuda/autotune
own=$(test_binary --lib)
behaviour=$(test_binary --test behaviour)
bash tests/simulator/build.sh "$simulator" "$kernels" target/cuda/autotune

export AUTOTUNE_TEST_DEVICE=cuda:0 AUTOTUNE_TEST_ENGINES=candle AUTOTUNE_POISON_TRANSFERS=1
echo "== kernels beside the processor's"
on_device "$own" cuda::
echo "== networks on the simulated device, everything as late as it may be"
on_device "$behaviour" networks
echo "== batches in every kind of company on it, in an order that is drawn"
SIMULATED_CUDA_SCHEDULE=seed:1 on_device "$behaviour" networks::company_in_a_batch
echo "== the whole program on the simulated card"
on_device "$behaviour" simulated_card
echo "== kernels with every access checked"
CHECKED=1 bash tests/simulator/build.sh "$simulator-checked" "$kernels" target/cuda/autotune
simulator=$simulator-checked on_device "$own" cuda::tests
