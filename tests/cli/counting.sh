#!/bin/bash
# tests/run.sh counts what passed and failed, and cannot be fooled by programs that crash, hang or are silent.
. "$(dirname "$0")/kit.sh"
runner=$root/tests/run.sh
fake() { printf '#!/bin/bash\n%s\n' "$2" >"$T/$1"; chmod +x "$T/$1"; }

claim passes_and_skips_are_counted
fake a.sh 'echo "ok one"; echo "ok two"; echo "skip three no model here"'
fake b 'echo "[       OK ] first"; echo "[  SKIPPED ] second"; echo "[  PASSED  ] 1 test(s)."'
run "$runner" "$T/a.sh" "$T/b"; exits 0; prints "3 passed, 0 failed"; prints "2 skipped"; prints "no model here"
check [ "$(tail -1 "$OUT")" = "3 passed, 0 failed" ]

claim failures_are_counted_once_each_and_shown
fake a.sh 'echo "ok one"; echo "not ok two"; echo "because of this"; exit 1'
fake b 'echo "[       OK ] x"; echo "[  FAILED  ] y"; echo "[  FAILED  ] tests: 1 test(s), listed below:"; echo "[  FAILED  ] y"; exit 1'
run "$runner" "$T/a.sh" "$T/b"; exits 1; prints "2 passed, 2 failed"; prints "because of this"

claim a_crash_is_a_failure
fake a 'echo "[       OK ] x"; kill -SEGV $$'
run "$runner" "$T/a"; exits 1; prints "1 passed, 1 failed"; prints "exit code 139"

claim a_race_is_a_failure_even_where_all_passes
fake a 'echo "[       OK ] x"; echo "WARNING: a data race" >"${TSAN_OPTIONS##*log_path=}.1"'
fake b 'echo "[       OK ] y"; echo "threads: $RLAIF_THREADS $OMP_THREAD_LIMIT"; exit 1'
run env SAN=thread "$runner" "$T/a" "$T/b"; exits 1; prints "2 passed, 2 failed"; prints "a data race"; prints "threads: 1 1"

claim a_hanging_test_is_stopped
fake a 'sleep 20'
run env TEST_TIMEOUT=1 "$runner" "$T/a"; exits 1; prints "stopped after 1 s"; prints "0 passed, 1 failed"

claim silence_is_a_failure
fake a.sh 'exit 0'
run "$runner" "$T/a.sh"; exits 1; prints "0 passed, 1 failed"
