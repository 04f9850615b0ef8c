#!/bin/bash
# tables.sh PROGRAM [--check] - writes the tables of README.md that the program itself knows, between their markers
#
#     <!-- COMMAND -->  ...  <!-- end -->
#
# where COMMAND is what prints the table ("rlaif families --markdown").  --check changes nothing; exit code 1 when stale.
set -eu
rlaif=$(realpath "$1")
check=${2:-}
cd "$(dirname "$0")/.."
made=$(mktemp)
trap 'rm -f "$made"' EXIT
while IFS= read -r line; do
    printf '%s\n' "$line"
    [[ $line =~ ^\<!--\ rlaif\ (.*)\ --\>$ ]] || continue
    # shellcheck disable=SC2086 - the words of the command
    "$rlaif" ${BASH_REMATCH[1]}
    while IFS= read -r line && [ "$line" != '<!-- end -->' ]; do :; done
    printf '%s\n' '<!-- end -->'
done <README.md >"$made"
if cmp -s "$made" README.md; then
    exit 0
elif [ "$check" = --check ]; then
    diff README.md "$made" >&2 || true
    echo "tables: README.md is stale: make tables" >&2
    exit 1
fi
cp "$made" README.md
echo "tables: README.md written"
