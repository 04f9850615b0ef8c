#!/bin/bash
# Compares every #include "..." under src/ (and tests/) with src/LAYERS: a room may include its
# own files and the door (room/room.h) of a room it knows.  A test may look inside the room it tests.
set -u
cd "$(dirname "$0")/.."
bad=0
knows() { sed -n "s/^$1://p" src/LAYERS; }
while IFS=: read -r file line inc; do
    room=$(echo "$file" | cut -d/ -f2)
    other=$(echo "$inc" | cut -d/ -f1)
    [ "$other" = "$room" ] && continue
    case " $(knows "$room") " in *" $other "*) known=1 ;; *) known=0 ;; esac
    if [ $known = 0 ]; then
        echo "$file:$line: room '$room' may not know '$other' (src/LAYERS)"; bad=1
    elif [ "$inc" != "$other/$other.h" ]; then
        echo "$file:$line: '$inc' is inside another room; its door is $other/$other.h"; bad=1
    fi
done < <(grep -rnoE '#include "[^"]+"' src --include=*.c --include=*.h |
         sed -E 's/^([^:]+):([0-9]+):#include "([^"]+)"/\1:\2:\3/')
for room in $(ls src); do
    [ -d "src/$room" ] && [ -n "$(find "src/$room" -name '*.c')" ] || continue
    grep -q "^$room:" src/LAYERS || { echo "src/$room is not in src/LAYERS"; bad=1; }
done
[ $bad = 0 ] && echo "layers: every include goes downward"
exit $bad
