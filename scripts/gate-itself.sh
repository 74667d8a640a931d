#!/usr/bin/env bash
# The project gates its own changes: the revision that is here beside the one that it comes from, which is the merge base with the
# default branch, or else the first parent.
#
# Counts are compared exactly: more of anything fails, unless a commit since then says why in a trailer, `More-counts: …`.
# The engines of the processor are gated in pairs with a margin of 10%, and fail only what is a regression (of time, memory, load or
# answers) twice in a row: machines that build are noisy. Needs the release build.
set -euo pipefail
cd "$(dirname "$0")/.."
program=target/release/autotune

base=
if default=$(git rev-parse --verify --quiet origin/HEAD || git rev-parse --verify --quiet origin/main); then
    base=$(git merge-base HEAD "$default" || true)
fi
if [ -z "$base" ] || [ "$base" = "$(git rev-parse HEAD)" ]; then
    base=$(git rev-parse --verify --quiet 'HEAD^1' || true)
fi
if [ -z "$base" ]; then
    echo "skipped: the clone has neither the default branch nor the first parent, so there is nothing to compare with"
    exit 0
fi
echo "base: $(git log -1 --format='%h %s' "$base")"

[ -x "$program" ] || { echo "$program isn't there: run cargo build --release, without a CARGO_TARGET_DIR" >&2; exit 2; }
built=target/gate/release/autotune
# One that an earlier run has left is no base of this one.
rm -f "$built"

code=0
"$program" gate --counts --suite .ci/gate.toml --base-ref "$base" || code=$?
case $code in
    0) ;;
    5)
        why=$(git log --format='%(trailers:key=More-counts,valueonly)' "$base..HEAD" | sed '/^$/d')
        [ -n "$why" ] || { echo "there is more than before: where that is meant, say why in a trailer of the commit, More-counts: …" >&2; exit 5; }
        echo "there is more than before, and that is meant: $why"
        ;;
    6) echo "the counts can't be compared, which fails nothing" ;;
    *) exit "$code" ;;
esac

if [ ! -x "$built" ]; then
    echo "the base wasn't built, so nothing is timed"
    exit 0
fi
# timed: both engines, once. Other programs may be at work where this runs: a noisy pair is no worse than none.
timed() { "$program" gate --suite .ci/gate.toml --base-bin "$built" --gpu cpu --margin 10% --time 40s --other-load 60% --quiet; }
code=0
timed || code=$?
if [ "$code" = 5 ]; then
    echo "a regression: measured once more"
    code=0
    timed || code=$?
fi
case $code in
    5) exit 5 ;;
    0 | 6) ;; # What can't be told here fails nothing.
    *) exit "$code" ;;
esac
