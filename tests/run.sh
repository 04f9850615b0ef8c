#!/bin/bash
# Runs test programs (cmocka) and shell tests (lines "ok NAME", "not ok NAME", "skip NAME"), prints what
# failed, and ends with the line `N passed, N failed`.
set -u
pass=0 fail=0 skip=0
log=$(mktemp) ; trap 'rm -f "$log"' EXIT
for t in "$@"; do
    start=$(date +%s.%N)
    case $t in
    *.sh) bash "$t" >"$log" 2>&1; rc=$?
          p=$(grep -c '^ok ' "$log"); f=$(grep -c '^not ok ' "$log"); s=$(grep -c '^skip ' "$log") ;;
    *)    "$t" >"$log" 2>&1; rc=$?
          p=$(grep -c '^\[       OK \]' "$log"); f=$(grep -c '^\[  FAILED  \] [a-z_0-9]*$' "$log"); s=$(grep -c '^\[  SKIPPED \] [a-z_0-9]*$' "$log")
          f=$(grep -E '^\[  (FAILED|ERROR)   ?\] [A-Za-z_0-9]+$' "$log" | sort -u | wc -l)
          s=$(grep -E '^\[  SKIPPED \] [A-Za-z_0-9]+$' "$log" | sort -u | wc -l) ;;
    esac
    [ $rc -ne 0 ] && [ "$f" -eq 0 ] && f=1
    pass=$((pass + p)) fail=$((fail + f)) skip=$((skip + s))
    printf '%-44s %4d passed %3d failed %3d skipped %6.1f s\n' "${t#"${BUILD:-build}"/}" "$p" "$f" "$s" \
        "$(echo "$(date +%s.%N) - $start" | awk '{print $1 - $3}')"
    grep -E '^skip |^\[ *SKIP' "$log" | grep -v 'tests(s)' | sort -u | head -3 | sed 's/^/    /'
    [ "$f" -gt 0 ] && { grep -vE '^\[ +(RUN|OK) |^ok ' "$log" | tail -40 | sed 's/^/    /'; }
done
[ $skip -gt 0 ] && echo "$skip skipped"
echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
