#!/bin/bash
# rlaif audit and rlaif cost: figures known beforehand, a page, a JSON, calibrated pairs, and what is refused.
. "$(dirname "$0")/kit.sh"

# FILE N RIGHT: N pairs, the first text gold, of which the labeler gets RIGHT right at 0.9; every fourth names slot 1 twice.
labels() {
    for i in $(seq "$2"); do
        p=0.9; [ "$i" -gt "$3" ] && p=0.1
        b=2; [ $((i % 4)) = 0 ] && b=1
        printf '{"id":"%d","prompt":"p %d","first":"one two three","second":"- a\\n- b\\n- c and more","label_first":%s,"label_order_a":%s,"label_order_b":%s,"slot_a":1,"slot_b":%d,"label_mass":0.8,"state":"answered","human":1,"kind":"%s","cost":{"replies":2,"tokens_in":830,"tokens_out":61,"price":0.02}}\n' \
            "$i" "$i" "$p" "$p" "$p" "$b" "$([ "$i" -le 20 ] && echo early || echo late)"
    done >"$1"
}
labels "$T/good.jsonl" 40 32
labels "$T/bad.jsonl" 40 20

claim figures_are_those_of_the_rows
run "$rlaif" audit --labels "$T/good.jsonl" --by kind --output_dir "$T/a" --json; exits 0
figure() { sed -n "s/^ *\"$1\": \\([-0-9.e]*\\),*$/\\1/p" "$T/a/audit.json" | head -1; }
check [ "$(figure alignment)" = 0.8 ]
check [ "$(figure same_slot)" = 0.25 ]
check [ "$(figure tokens_in_per_thousand)" = 830000 ]
close() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a - b < 1e-3 && b - a < 1e-3) }'; }
check close "$(figure price_per_thousand)" 20
check close "$(figure brier)" 0.17
prints '"early"'; prints '"late"'
check grep -q "How far can these labels be trusted" "$T/a/audit.html"

claim labelings_of_the_same_pairs_are_compared
run "$rlaif" audit --labels "$T/good.jsonl" "$T/bad.jsonl" --names good bad --output_dir "$T/b"; exits 0
prints "12 : 0"; prints "Krippendorff"
check grep -q "12 : 0, p 0.000488" "$T/b/audit.html"

claim the_fitted_temperature_is_applied
run "$rlaif" audit --labels "$T/good.jsonl" --write_calibrated true --output_dir "$T/c"; exits 0
# 80 % right at labels of 0.9: at the fitted temperature they say 0.8
check close "$(sed -n '1s/.*"label_prob": \([0-9.]*\).*/\1/p' "$T/c/pairs_calibrated.jsonl")" 0.8

claim gold_may_come_from_a_file
head -10 "$T/good.jsonl" | sed 's/"first":/"rejected":/; s/"second":/"chosen":/; s/"label_first.*"human":1,//; s/"cost".*/"x":1}/' >"$T/gold.jsonl"
run "$rlaif" audit --labels "$T/good.jsonl" --gold "$T/gold.jsonl" --output_dir "$T/d" --json; exits 0
check grep -q '"compared": 10' "$T/d/audit.json"
check grep -q '"alignment": 0' "$T/d/audit.json"

claim pairs_with_soft_labels_are_audited_too
printf '%s\n' '{"prompt":"a","chosen":"long long text","rejected":"short","label_prob":0.8}' '{"prompt":"b","chosen":"no","rejected":"rather a long one","label_prob":0.6}' \
    '{"prompt":"c","chosen":"a much longer text","rejected":"brief"}' >"$T/soft.jsonl"
run "$rlaif" audit --labels "$T/soft.jsonl" --gold "$T/soft.jsonl" --output_dir "$T/s" --json; exits 0
check grep -q '"alignment": 1' "$T/s/audit.json"
check grep -q '"prefers_longer": 0.66' "$T/s/audit.json"
check grep -q '"same_slot": null' "$T/s/audit.json"

claim what_is_wrong_is_said
run "$rlaif" audit --labels "$T/good.jsonl" --by nothing --output_dir "$T/e"; exits 1; says "no row has the key 'nothing'"
run "$rlaif" audit --labels "$T/good.jsonl" "$T/good.jsonl" --output_dir "$T/e"; exits 2; says "--names"
sed 's/"id":"/"id":"x/' "$T/bad.jsonl" >"$T/other.jsonl"
run "$rlaif" audit --labels "$T/good.jsonl" "$T/other.jsonl" --output_dir "$T/e"; exits 1; says "no pair in common"
echo '{"id":"1"}' >"$T/broken.jsonl"
run "$rlaif" audit --labels "$T/broken.jsonl" --output_dir "$T/e"; exits 1; says "line 1"

claim the_papers_cost_is_reproduced
run "$rlaif" cost --example paper; exits 0; prints "0.0571"; prints "0.67"

claim a_labelling_costs_what_its_rows_say_or_what_a_table_says
run "$rlaif" cost --labels "$T/good.jsonl"; exits 0; prints "20.00"
printf -- '- {model: "big-*", input: 30, cached_input: 0, output: 60}\n' >"$T/prices.yaml"
run "$rlaif" cost --labels "$T/good.jsonl" --price_table "$T/prices.yaml" --price_model big-1; exits 0; prints "28.56"
run "$rlaif" cost --labels "$T/good.jsonl" --price_table "$T/prices.yaml" --price_model small; exits 1; says "no price for the model small"
run "$rlaif" cost --tokens_in 830 --tokens_out 61 --input_price 30 --output_price 60 --pairs 100; exits 0; prints "5.71"
run "$rlaif" cost; exits 2; says "--example paper"

claim probes_of_a_labeler_reach_the_audit
run "$rlaif" generate -m models/s --input examples/prompts.jsonl --output "$T/two.jsonl" --num_return_sequences 2; exits 0
run "$rlaif" label --labeler models/s --preamble lab --input "$T/two.jsonl" --output_dir "$T/p" --probes recipes/probes/injection.jsonl --probe_pairs 2; exits 0
prints "injection.control.asked"
run "$rlaif" audit --labels "$T/p/labels.jsonl" --output_dir "$T/p/audit" --json; exits 0; prints '"injection"'; prints '"seconds_per_thousand"'
check grep -q "Can a candidate talk it round" "$T/p/audit/audit.html"
