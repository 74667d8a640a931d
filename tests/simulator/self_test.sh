#!/usr/bin/env bash
# Tests the simulator itself; ends with a status other than 0 if a case fails.
#
#   self_test.sh [OUT_FOLDER]
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
if [ $# -ge 1 ]; then
    mkdir -p "$1"
    out=$(cd "$1" && pwd)
else
    out=$(mktemp -d)
    trap 'rm -rf "$out"' EXIT
fi

"$here/build.sh" "$out" "$here/self_test"
g++ -std=c++17 -O0 -Wall -Wextra -o "$out/self_test" "$here"/self_test/*.cpp \
    -L"$out" -lcuda -lcublas -lnvidia-ml
cd "$out"
LD_LIBRARY_PATH=$out ./self_test

echo "With each access checked:"
CHECKED=1 "$here/build.sh" "$out" "$here/self_test"
CHECKED=1 LD_LIBRARY_PATH=$out ./self_test
