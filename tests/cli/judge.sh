#!/bin/bash
# judge: models' outputs against a baseline and against each other; AlpacaEval's files in and out.
. "$(dirname "$0")/kit.sh"
export RLAIF_THREADS=1
model=models/s
if [ ! -e $model ]; then skip judge "models/s is not here (make lab-models)"; exit 0; fi
judge() { run "$rlaif" judge --judge $model --json "$@"; }

claim annotations_have_the_field_s_columns_and_are_asked_once
judge --outputs examples/outputs_b.json examples/outputs_c.json --baseline examples/outputs_a.json --output_dir "$T/a"
exits 0; prints '"model": "short"'; prints '"n_total": 3'; prints '"replies_computed": 5'       # one output of three is equal
for key in instruction output_1 generator_1 dataset output_2 generator_2 annotator preference price_per_example time_per_example raw_completion; do
    check [ "$(grep -c "\"$key\":" "$T/a/odd/annotations.json")" = 3 ]
done
check grep -q '"preference": 1.5' "$T/a/odd/annotations.json"
check [ "$(head -1 "$T/a/leaderboard.csv")" = model,win_rate,standard_error,n_wins,n_wins_base,n_draws,n_total,discrete_win_rate,mode,avg_length ]
check [ "$(wc -l <"$T/a/leaderboard.csv")" = 3 ]
judge --outputs examples/outputs_b.json examples/outputs_c.json --baseline examples/outputs_a.json --output_dir "$T/a"
exits 0; prints '"replies_computed": 0'

claim annotations_that_exist_are_summarised
run "$rlaif" judge --annotations "$T/a/odd/annotations.json" --json; exits 0; prints '"n_total": 3'; prints '"model": "odd"'
echo '[{"instruction": "x", "output_2": "y", "preference": 3}]' >"$T/odd.json"
run "$rlaif" judge --annotations "$T/odd.json"; exits 1; says "should be a number from 0 to 2 or null"
echo '[{"instruction": "x", "output_2": "y", "preference": null}]' >"$T/odd.json"
run "$rlaif" judge --annotations "$T/odd.json"; exits 1; says "there is no win rate"

claim both_orders_and_ranks
judge --order both --outputs examples/outputs_b.json --baseline examples/outputs_a.json --output_dir "$T/b"; exits 0; prints '"replies_computed": 6'
judge --rank tournament --outputs examples/outputs_a.json examples/outputs_b.json examples/outputs_c.json --output_dir "$T/r"
exits 0; prints '"mean_rank"'; check [ "$(wc -l <"$T/r/rankings.jsonl")" = 3 ]
judge --rank listwise --outputs examples/outputs_a.json examples/outputs_b.json --output_dir "$T/l"; exits 0; prints '"instructions": 3'
judge --annotator text --reference_answers examples/outputs_a.json --outputs examples/outputs_b.json --baseline examples/outputs_c.json --output_dir "$T/t"
exits 1; says "so there is no win rate"     # a random model writes no verdict

claim what_cannot_be_is_refused
judge --outputs examples/outputs_a.json --output_dir "$T/x"; exits 2; says "--baseline"
run "$rlaif" judge --outputs examples/outputs_a.json --baseline examples/outputs_b.json; exits 2; says "--judge and --output_dir"
judge --outputs examples/outputs_a.json examples/outputs_a.json --rank tournament --output_dir "$T/x"; exits 1; says "tell them apart"
echo '[{"instruction": "other", "output": "y"}]' >"$T/other.json"
judge --outputs "$T/other.json" --baseline examples/outputs_a.json --output_dir "$T/x"; exits 1; says "shares no instruction"
