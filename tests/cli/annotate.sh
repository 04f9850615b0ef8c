#!/bin/bash
# annotate: a person's keys through a pipe become labels in the store that all labelers share.
. "$(dirname "$0")/kit.sh"
for i in 1 2 3 4; do
    echo "{\"prompt\":\"Question $i?\",\"completions\":[\"Yes, $i.\",\"No, $i.\"]}"
done >"$T/candidates.jsonl"
sit() { # KEYS ARG...
    local keys=$1; shift
    kit_last="annotate <<<$keys"
    printf '%s' "$keys" | "$rlaif" annotate --annotator ann --input "$T/candidates.jsonl" --width 60 --json "$@" >"$OUT" 2>"$ERR"
    rc=$?
}

claim keys_become_pairs_and_labels
sit 12t --output_dir "$T/a"
exits 0; prints '"answered": 3'; prints '"ties": 1'; prints '"open": 1'; says "Question 1?"; says "1 of 4"
check [ "$(wc -l <"$T/a/pairs.jsonl")" = 3 ]
check [ "$(grep -c '"labeler": *"people:ann"' "$T/a/pairs.jsonl")" = 3 ]

claim a_second_sitting_goes_on
sit s1 --output_dir "$T/a"
exits 0; prints '"answered_now": 1'; prints '"skipped": 1'; prints '"open": 0'; says "Question 4?"
check [ -z "$(grep -F 'Question 1?' "$ERR")" ]

claim stores_are_shared_and_people_are_told_apart
run bash -c "printf 1111 | '$rlaif' annotate --annotator bob --input '$T/candidates.jsonl' --output_dir '$T/b' --store '$T/a/labels.db' --json"
exits 0; prints '"answered_now": 4'
run "$rlaif" store "$T/a/labels.db"; exits 0; prints "people:ann"; prints "people:bob"

claim bad_use_is_refused
run "$rlaif" annotate --annotator "" --input "$T/candidates.jsonl" --output_dir "$T/c"; exits 2; says annotator
run "$rlaif" annotate --annotator ann --input "$T/none.jsonl" --output_dir "$T/c"; exits 1; says none.jsonl
