#!/bin/bash
# tidy.sh [FILE...] - clang-tidy (see .clang-tidy) and cppcheck over the sources, whichever is installed.
# Exit code 1 when either has something to say.
set -u
cd "$(dirname "$0")/.."
files=("$@")
[ ${#files[@]} -gt 0 ] || mapfile -t files < <(find src -name '*.c' | sort)
ran=0 bad=0
if command -v clang-tidy >/dev/null; then
    ran=1
    for f in "${files[@]}"; do
        case $f in
        */cpu/attention_*|*/cpu/kernels_*) continue ;;     # GCC's vector extensions, which clang does not know in full
        esac
        case $f in      # the instruction sets that the Makefile names for these files
        *_avx2.c) arch="-mavx2 -mfma -mf16c" ;;
        *_avx512bf16.c) arch="-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma -mavx512bf16" ;;
        *_avx512.c) arch="-mavx512f -mavx512bw -mavx512dq -mavx512vl -mfma" ;;
        *) arch="" ;;
        esac
        out=$(clang-tidy --quiet "$f" -- -std=gnu11 -D_GNU_SOURCE -Isrc $arch 2>/dev/null)
        [ -n "$out" ] && { echo "$out"; bad=1; }
    done
fi
if command -v cppcheck >/dev/null; then
    ran=1
    cppcheck --quiet --std=c11 --language=c --enable=warning,portability --inline-suppr --error-exitcode=1 \
        --suppress=missingIncludeSystem --suppress=unknownMacro --suppress=nullPointerRedundantCheck \
        --suppress=nullPointerArithmeticRedundantCheck --suppress=identicalInnerCondition --library=tools/cppcheck.cfg -D_GNU_SOURCE -Isrc "${files[@]}" || bad=1
fi
[ $ran = 1 ] || { echo "tidy: neither clang-tidy nor cppcheck is installed (apt-get install clang-tidy cppcheck)" >&2; exit 1; }
[ $bad = 0 ] && echo "tidy: ${#files[@]} files, nothing to say"
exit $bad
