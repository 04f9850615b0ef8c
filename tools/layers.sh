#!/bin/bash
# layers.sh [ROOT] - compares every #include "..." under src/ and tests/ with src/LAYERS.  A room may
# include its own files and the door (room/room.h) of a room it knows.  A test may, besides, look inside
# the room it tests, and use kit/.
set -u
cd "${1:-$(dirname "$0")/..}" || exit 1
{
    sed -n 's/^\([a-z_]*\):/LAYER \1 /p' src/LAYERS
    find src -mindepth 2 -name '*.c' | cut -d/ -f2 | sort -u | sed 's/^/ROOM /'
    find src tests -name '*.[ch]' -print0 | sort -z |
        xargs -0r grep -nHE '^[[:space:]]*#[[:space:]]*include[[:space:]]*"' |
        sed -E 's/^([^:]+):([0-9]+):[^"]*"([^"]*)".*/INCLUDE \1 \2 \3/'
} | awk '
function complain(text) { print text; bad = 1 }
$1 == "LAYER" { known[$2] = 1; for (i = 3; i <= NF; i++) may[$2, $i] = 1 }
$1 == "ROOM" && !($2 in known) { complain("src/" $2 " is not in src/LAYERS") }
$1 == "INCLUDE" {
    split($2, path, "/"); split($4, inc, "/"); n++
    room = path[2]; other = inc[1]
    if (other == room || (path[1] == "tests" && other == "kit")) next
    if (!((room, other) in may))
        complain($2 ":" $3 ": \"" $4 "\": room " room " may not know " other " (src/LAYERS)")
    else if ($4 != other "/" other ".h")
        complain($2 ":" $3 ": \"" $4 "\" is inside another room; its door is " other "/" other ".h")
}
END { if (!bad) print "layers: " n " includes, all go downward"; exit bad }'
