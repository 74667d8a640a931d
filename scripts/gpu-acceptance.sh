#!/usr/bin/env bash
# Every check that needs a card, in one go and in under 8 minutes, of what a stranger meets: the plain program, and the CUDA
# worker that `autotune setup cuda` provides. Both were built before.
#
#     scripts/gpu-acceptance.sh build FOLDER        where there is Rust: for CUDA_COMPUTE_CAP (90), stripped and packed
#     scripts/gpu-acceptance.sh run FOLDER OUT      where there is a card: needs neither Rust nor a network
#     scripts/gpu-acceptance.sh keep OUT            copies what is worth committing to results/reference/CARD/
#
# FOLDER may hold `onnxruntime/` besides, with the files of onnxruntime-gpu's folder `capi`, and `minilm/`, the model with
# its real weights; without them ONNX Runtime is left out, and MiniLM is a replica. Python with PyTorch and
# sentence-transformers is measured beside ours where it's there. The card is only read, never set.
#
# OUT gets what each check printed, the runs with their plots, `checks.tsv`, and `summary.md`. With AUTOTUNE_REHEARSAL=1
# everything is run with tiny models, so that the script itself can be tried on a simulated card (tests/simulator/README.md);
# its figures mean nothing then, and the summary says so.
set -uo pipefail
cd "$(dirname "$0")/.."
usage() { sed -n '5,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }

build() { # FOLDER
    set -e
    mkdir -p "$1"
    export CUDA_COMPUTE_CAP=${CUDA_COMPUTE_CAP:-90}
    local unpacked compiled=$PWD/target/cuda
    unpacked=$(mktemp -d)
    # shellcheck disable=SC2064 # The name is filled in now.
    trap "rm -rf '$unpacked'" EXIT
    cargo build --release --locked
    cp target/release/autotune "$unpacked/autotune"
    local provided worker
    provided=$(AUTOTUNE_WORKER_TARGET=$compiled target/release/autotune setup cuda --capability "$CUDA_COMPUTE_CAP")
    worker=${provided##*, }
    # Under the name by which the program finds it in a cache; its libraries are those of the other machine.
    local kept="$unpacked/cache/cuda-worker/$(basename "$(dirname "$worker")")"
    mkdir -p "$kept"
    cp "$worker" "$kept/"
    cp "$(test_binary --test behaviour)" "$unpacked/tests-behaviour"
    eval "$(scripts/cuda-toolkit.sh)"
    local of_worker=(--package autotune-worker --features cuda --target-dir "$compiled")
    cp "$(test_binary "${of_worker[@]}" --lib)" "$unpacked/tests-kernels"
    cp "$(test_binary "${of_worker[@]}" --test card)" "$unpacked/tests-card"
    strip "$unpacked"/autotune "$unpacked"/tests-* "$kept"/*
    XZ_OPT=-6 tar --create --xz --directory "$unpacked" --file "$1/binaries.tar.xz" .
    ls -l "$1"
}

test_binary() { # WHICH…: the path of a test's executable
    cargo test --release --locked --no-run --message-format=json "$@" | python3 -c 'import json, sys
messages = map(json.loads, sys.stdin)
print(*(m["executable"] for m in messages if m.get("executable") and m.get("profile", {}).get("test")))'
}

# check NAME SECONDS COMMAND…: runs it, keeps what it says, and notes whether it passed.
check() {
    local name=$1 limit=$2 start=$SECONDS result=pass
    shift 2
    printf '== %s\n' "$name"
    # Some of the commands are functions of this script, which `timeout` can't start.
    timeout "$limit" bash -c '"$@"' check "$@" >"$out/$name.log" 2>&1 || result="fail (exit $?)"
    printf '%s\t%s\t%s\n' "$name" "$result" "$((SECONDS - start))" | tee -a "$out/checks.tsv"
    test "$result" = pass || tail -n 5 "$out/$name.log"
}

# Tests are linked with CUDA themselves, and have nobody who puts links beside them.
tests() { # BINARY FILTER ENGINES
    CARGO_MANIFEST_DIR=$PWD AUTOTUNE_TEST_DEVICE=cuda:0 AUTOTUNE_TEST_ENGINES=$3 AUTOTUNE_POISON_TRANSFERS=1 \
        LD_LIBRARY_PATH="${LD_LIBRARY_PATH:+$LD_LIBRARY_PATH:}${AUTOTUNE_CUDA_LIBRARIES:-}" \
        "$folder/tests-$1" "$2" --test-threads 2
}
export -f tests

# tune SUITE ARGUMENTS…: a run of one of benches/gpu/, with its plots.
tune() {
    local suite=$1
    shift
    "$folder/autotune" --gpu cuda:0 --measured --no-setup --suite "$suites/$suite.toml" --out "$out/$suite" --quiet "$@"
}
export -f tune

run() { # FOLDER OUT
    local given scratch
    given=$(cd "$1" && pwd) && mkdir -p "$2" && out=$(cd "$2" && pwd) || usage
    : >"$out/checks.tsv"
    # Replicas take gigabytes, which nobody wants among the results; and compiled kernels are kept from load to load.
    scratch=$(mktemp -d)
    trap "rm -rf '$scratch'" EXIT
    folder=$scratch
    tar --extract --xz --directory "$folder" --file "$given/binaries.tar.xz" || usage
    export AUTOTUNE_CACHE=$scratch/cache CUDA_CACHE_PATH=$scratch/compiled
    # CUDA's libraries where the system's loader doesn't look: those that came with PyTorch.
    local wheels
    wheels=$(python3 -c 'import importlib.util as util; print(*util.find_spec("nvidia").submodule_search_locations)' 2>/dev/null)
    for place in $wheels; do
        test -d "$place/cu13/lib" && export AUTOTUNE_CUDA_LIBRARIES=$place/cu13/lib
    done
    local engines=candle
    if [ -d "$given/onnxruntime" ]; then
        engines=candle,ort
        AUTOTUNE_CUDA_DYLIB_PATH=$(find "$given/onnxruntime" -name 'libonnxruntime.so.*' -print -quit)
        export AUTOTUNE_CUDA_DYLIB_PATH
    fi

    # Suites name engines and peers that may not be here: what only they have is left out of copies.
    suites=$out/suites
    mkdir -p "$suites"
    local suite edits=(-e "s|\"\.\./peers/|\"$PWD/benches/peers/|")
    local e5=(--replica) minilm=(--model "$given/minilm") peers=sentence-transformers,$engines
    test -d "$given/minilm" || minilm=(--replica)
    local torch=yes
    python3 -c 'import sentence_transformers, torch; assert torch.cuda.is_available()' 2>/dev/null || torch=
    test -n "$torch" || { peers=$engines; edits+=(-e '/^baseline = .*sentence-transformers/d'); }
    test "$engines" != candle || edits+=(-e 's/, "int8-weights"//' -e '/^\[\[stages.exclude/,$d')
    if [ -n "${AUTOTUNE_REHEARSAL:-}" ]; then
        edits+=(-e 's/documents = [0-9]*/documents = 6/; s/median_words = [0-9]*/median_words = 12/; s/most_words = [0-9]*/most_words = 20/'
            -e 's/time = "[0-9]*ms"/time = "1ms"/; s/batch_size = \[.*\]/batch_size = [4]/; s/batch_size = 8,/batch_size = 4,/')
        e5=(--model tests/fixtures/models/xlm-roberta-embed)
        minilm=(--model tests/fixtures/models/bert-embed-mean)
    fi

    for suite in benches/gpu/*.toml; do
        sed "${edits[@]}" "$suite" >"$suites/$(basename "$suite")"
    done
    export folder out suites
    check doctor 60 "$folder/autotune" doctor
    check setup 60 "$folder/autotune" setup cuda
    check monitor 20 "$folder/autotune" monitor --once --json
    check kernels 60 tests kernels cuda:: candle
    check parity-candle 120 tests card '' candle
    test "$engines" = candle || check parity-ort 120 tests behaviour networks ort
    test -z "$torch" || check matrix-rate 20 python3 scripts/gpu-acceptance.py rate "$out/rate.json"
    check shares 60 tune shares "${e5[@]}" --backend "$engines" --budget 25s
    check memory 90 "$folder/autotune" memory --gpu cuda:0 --no-setup "${minilm[@]}" --backend "$engines" --dtype fp16 --rounds 50
    check sweep 70 tune minilm "${minilm[@]}" --backend "$engines" --budget 40s
    check e5-large 120 tune e5-large "${e5[@]}" --backend "$peers" --budget 80s
    check e5-sweep 70 tune e5-sweep "${e5[@]}" --backend "$engines" --budget 40s
    python3 scripts/gpu-acceptance.py summary "$out" "${AUTOTUNE_REHEARSAL:-}"
}

case ${1:-} in
    build) test $# = 2 || usage; build "$2" ;;
    run) test $# = 3 || usage; run "$2" "$3" ;;
    keep) test $# = 2 || usage; python3 scripts/gpu-acceptance.py keep "$2" ;;
    *) usage ;;
esac
