#!/bin/bash
# Runs test programs (cmocka) and shell tests (lines "ok NAME", "not ok NAME", "skip NAME REASON"), prints
# what failed, and ends with the line `N passed, N failed`.  A program that dies or hangs is one failure more.
set -u
export ASAN_OPTIONS=${ASAN_OPTIONS:-allocator_may_return_null=1:detect_stack_use_after_return=1}
export TSAN_OPTIONS=${TSAN_OPTIONS:-allocator_may_return_null=1}
export UBSAN_OPTIONS=${UBSAN_OPTIONS:-print_stacktrace=1}
# As cli/main.c: threads that wait do not spin for long, for the sake of what else runs.
export GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-1000}
# No test reaches beyond this machine: those of the Hub bring their own.
export HF_HUB_OFFLINE=1
# SAN=thread: libgomp is not built for the thread sanitizer, which would see races where a parallel loop begins and
# ends.  Compute gets one thread whatever a test asks for, and then nothing needs to be overlooked.  What is found
# goes to files, of every process a test starts: a report is a failure whatever becomes of that process's exit code.
reports=
if [ "${SAN:-}" = thread ]; then
    export RLAIF_THREADS=1 OMP_THREAD_LIMIT=1
    reports=$(mktemp -d)
    export TSAN_OPTIONS=$TSAN_OPTIONS:log_path=$reports/report
fi
limit=${TEST_TIMEOUT:-600}
pass=0 fail=0 skip=0
log=$(mktemp) ; trap 'rm -rf "$log" ${reports:+"$reports"}' EXIT
failed=()               # said once more at the end, where the last lines of a long log still show it
count() { grep -E "$1" "$log" | sort -u | wc -l; }
for t in "$@"; do
    start=$(date +%s%N)
    case $t in
    *.sh) timeout "$limit" bash "$t" >"$log" 2>&1; rc=$?
          p=$(count '^ok '); f=$(count '^not ok '); s=$(count '^skip ') ;;
    *)    timeout "$limit" "$t" >"$log" 2>&1; rc=$?
          p=$(count '^\[       OK \] '); f=$(count '^\[  (FAILED|ERROR) ? ?\] [A-Za-z_0-9]+$')
          s=$(count '^\[  SKIPPED \] [A-Za-z_0-9]+$') ;;
    esac
    if [ -n "$reports" ] && cat "$reports"/* >>"$log" 2>/dev/null; then
        f=$((f + 1))
        rm -f "$reports"/*
    fi
    [ $rc -ne 0 ] && [ "$f" -eq 0 ] && f=1
    [ $((p + f + s)) -eq 0 ] && f=1     # a test that says nothing tested nothing
    pass=$((pass + p)) fail=$((fail + f)) skip=$((skip + s))
    ms=$((($(date +%s%N) - start) / 1000000))
    printf '%-44s %4d passed %3d failed %3d skipped %6d.%d s\n' "${t#"${BUILD:-build}"/}" "$p" "$f" "$s" \
        $((ms / 1000)) $((ms % 1000 / 100))
    grep -E '^skip ' "$log" | sort -u | head -5 | sed 's/^/    /'
    if [ "$f" -gt 0 ]; then
        [ $rc -eq 124 ] && echo "    stopped after $limit s"
        [ $rc -ne 0 ] && echo "    exit code $rc"
        said=$(grep -vE '^\[ +(RUN|OK) |^ok ' "$log" | tail -60 | sed 's/^/    /')
        echo "$said"
        failed+=("${t#"${BUILD:-build}"/}: exit code $rc after $((ms / 1000)) s" "$(tail -25 <<<"$said")")
    fi
done
[ ${#failed[@]} -gt 0 ] && printf '%s\n' "" "what failed:" "${failed[@]}" ""
[ $skip -gt 0 ] && echo "$skip skipped"
echo "$pass passed, $fail failed"
[ $fail -eq 0 ]
