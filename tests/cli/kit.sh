# kit.sh - helpers for shell tests.  A test begins with
#
#     . "$(dirname "$0")/kit.sh"
#
# and has then: $rlaif (the program), $T (a folder that disappears), $root (the repository), and
#
#     run CMD ARG...          runs it; leaves $rc and what it said in $OUT and $ERR
#     claim NAME              from here on, checks count for this claim; prints ok or not ok at the next one
#     exits N                 the last run ended with N and not by a signal
#     says TEXT               the last run's stderr contains TEXT (fixed string)
#     prints TEXT             the last run's stdout contains TEXT
#     absent PATH, present PATH, same FILE FILE
#     check CMD ARG...        any command that must succeed
#     skip NAME REASON        prints the skip line
#
# At exit the script fails when any claim did.
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=${BUILD:-build}
case $build in /*) ;; *) build=$root/$build ;; esac
rlaif=$build/rlaif
cd "$root" || exit 1
T=$(mktemp -d "${TMPDIR:-/tmp}/rlaif-cli-XXXXXX")
OUT=$T/.stdout ERR=$T/.stderr
kit_name="" kit_bad=0 kit_failed=0 rc=0

kit_close() {
    if [ -n "$kit_name" ]; then
        if [ $kit_bad = 0 ]; then echo "ok $kit_name"; else echo "not ok $kit_name"; kit_failed=1; fi
    fi
    kit_name="" kit_bad=0
}
kit_end() {
    local status=$?
    [ $status -ne 0 ] && [ $kit_failed = 0 ] && kit_bad=1
    kit_close
    rm -rf "$T"
    [ $status -ne 0 ] && exit $status
    exit $kit_failed
}
trap kit_end EXIT

claim() { kit_close; kit_name=$1; }
skip() { kit_close; echo "skip $*"; }
kit_no() { # what was expected; shows what the last run said
    echo "    $kit_name: $1"
    [ $kit_bad = 1 ] && return 0
    kit_bad=1
    echo "    after: ${kit_last:-nothing} (exit code $rc)"
    [ -f "$ERR" ] && tail -5 "$ERR" | sed 's/^/      stderr: /'
    return 0
}
run() {
    kit_last=$*
    "$@" >"$OUT" 2>"$ERR" </dev/null
    rc=$?
}
exits() { [ "$rc" = "$1" ] || kit_no "expected exit code $1, found $rc"; }
says() { grep -qF -- "$1" "$ERR" || kit_no "expected '$1' on stderr"; }
prints() { grep -qF -- "$1" "$OUT" || kit_no "expected '$1' on stdout"; }
absent() { [ ! -e "$1" ] || kit_no "$1 should not be there"; }
present() { [ -e "$1" ] || kit_no "$1 should be there"; }
same() { cmp -s "$1" "$2" || kit_no "$1 and $2 differ"; }
check() { "$@" || kit_no "failed: $*"; }
