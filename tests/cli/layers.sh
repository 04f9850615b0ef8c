#!/bin/bash
# tools/layers.sh says yes to this repository and no to each way of breaking the rule.
. "$(dirname "$0")/kit.sh"
layers=$root/tools/layers.sh

house() { # a small house in $T/h: top may know mid and low, mid may know low
    rm -rf "$T/h"; mkdir -p "$T/h/src/top" "$T/h/src/mid/in" "$T/h/src/low" "$T/h/tests/mid"
    printf 'top: mid low\nmid: low\nlow:\n' >"$T/h/src/LAYERS"
    echo '#include "low/low.h"' >"$T/h/src/low/low.c"
    printf '#include <stdio.h>\n#include "mid/mid.h"\n#include "mid/in/in.h"\n#include "low/low.h"\n' >"$T/h/src/mid/mid.c"
    printf '#include "mid/mid.h"\n' >"$T/h/src/top/top.c"
    printf '#include "mid/in/in.h"\n#include "low/low.h"\n#include "kit/kit.h"\n' >"$T/h/tests/mid/test_mid.c"
}

claim every_include_of_this_repository_goes_downward
run "$layers"; exits 0; prints "all go downward"

claim a_house_in_order_passes
house; run "$layers" "$T/h"; exits 0; prints "8 includes"

claim looking_upward_is_refused
house; echo '#include "mid/mid.h"' >>"$T/h/src/low/low.c"
run "$layers" "$T/h"; exits 1; prints "src/low/low.c:2:"; prints "low may not know mid"

claim looking_inside_another_room_is_refused
house; echo '  # include "mid/in/in.h"' >>"$T/h/src/top/top.c"
run "$layers" "$T/h"; exits 1; prints "its door is mid/mid.h"

claim a_room_that_is_not_in_the_table_is_refused
house; mkdir "$T/h/src/attic"; touch "$T/h/src/attic/attic.c"
run "$layers" "$T/h"; exits 1; prints "src/attic is not in src/LAYERS"

claim a_path_that_does_not_begin_at_src_is_refused
house; echo '#include "low.h"' >>"$T/h/src/low/low.c"
run "$layers" "$T/h"; exits 1; prints '"low.h"'

claim a_test_may_look_inside_its_own_room_only
house; echo '#include "mid/in/in.h"' >"$T/h/tests/mid/test_a.c"; mkdir "$T/h/tests/low"
echo '#include "mid/mid.h"' >"$T/h/tests/low/test_low.c"
run "$layers" "$T/h"; exits 1; prints "tests/low/test_low.c:1:"; check [ "$(wc -l <"$OUT")" = 1 ]
