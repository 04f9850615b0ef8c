#!/bin/bash
# rlaif bench: a table of shares, the same as CSV and JSON, one's own model, a peer, and what is refused.
. "$(dirname "$0")/kit.sh"
printf '#!/bin/sh\nwhile read -r q; do echo "$q" >>"$1"; echo "{\\"units\\": 10, \\"seconds\\": 2}"; done\n' >"$T/peer"
printf '#!/bin/sh\nread -r q; echo nonsense\n' >"$T/liar"
chmod +x "$T/peer" "$T/liar"

claim a_model_of_ones_own_has_a_line_for_each_kind_of_work
run "$rlaif" bench -m models/s --rounds 1 --only prompts --csv "$T/b.csv" --peers "other=$T/peer $T/asked"; exits 0
prints "prompts 4 x 700"; prints "prompts 16 x 700, 500 shared"; prints "% of peak"; prints "5.00 ("
check [ "$(grep -c '^"prompts' "$T/b.csv")" = 2 ]
check grep -q '^"read bandwidth",bytes' "$T/b.csv"
check [ "$(grep -c '"kind":"score"' "$T/asked")" = 4 ]

claim what_a_model_has_no_room_for_is_skipped_with_a_reason
run "$rlaif" bench -m models/s --rounds 1 --only label --json; exits 0
prints '"skip"'

claim broken_peers_and_flags_are_errors
run "$rlaif" bench -m models/s --rounds 1 --only prompts --peers "liar=$T/liar"; exits 1; says "peer liar: expected a line of JSON, found 'nonsense"
run "$rlaif" bench -m models/s --rounds 1 --only prompts --peers "gone=false"; exits 1; says "peer gone"
run "$rlaif" bench -m models/s --rounds 0; exits 2; says "--rounds is 0"
run "$rlaif" bench -m models/s --peers nameless; exits 2; says "expected NAME=COMMAND"
run "$rlaif" bench -m models/s --rounds 1 --only "no such work"; exits 2; says "no row"
