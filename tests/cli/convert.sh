#!/bin/bash
# convert: preference data of others into TRL columns, and ours into theirs; every layout's rows are text cases in tests/cases/layout.
. "$(dirname "$0")/kit.sh"
sed -n 's/^> //p' tests/cases/layout/layouts.txt >"$T/all.jsonl"

claim a_file_of_all_layouts_is_read_row_by_row
run "$rlaif" convert --input "$T/all.jsonl" --output_dir "$T/a" --json
exits 0; prints '"alpaca": '; prints '"helpsteer": '; prints '"tldr": '; prints '"gsm8k": 2'; says "cannot be used"
pairs=$(wc -l <"$T/a/pairs.jsonl") examples=$(wc -l <"$T/a/examples.jsonl") rejected=$(wc -l <"$T/a/rejected.jsonl")
prints "\"pairs\": $pairs"; prints "\"rejected\": $rejected"
for key in prompt chosen rejected label_prob layout id; do check [ "$(grep -c "\"$key\":" "$T/a/pairs.jsonl")" = "$pairs" ]; done
check [ "$(grep -c '"reason":' "$T/a/rejected.jsonl")" = "$rejected" ]
check [ "$examples" = 1 ]

claim the_same_pairs_come_from_csv
printf 'instruction,output_1,output_2,preference\nq,a,b,1.25\n"x, y",c,d,\n' >"$T/in.csv"
run "$rlaif" convert --input "$T/in.csv" --output_dir "$T/csv" --json
exits 0; prints '"pairs": 1'; prints '"rejected": 1'; check grep -q '"label_prob": *0.75' "$T/csv/pairs.jsonl"
check grep -q "preference' is null" "$T/csv/rejected.jsonl"

claim only_confident_comparisons
run "$rlaif" convert --input "$T/all.jsonl" --confidence 1,2,8,9 --output_dir "$T/sure"
exits 0; check [ "$(grep -c '"layout": *"tldr"' "$T/sure/pairs.jsonl")" = 2 ]

claim what_comes_out_can_be_trained_on_and_converted_again
run "$rlaif" convert --input "$T/a/pairs.jsonl" --output_dir "$T/again" --json
exits 0; prints "\"pairs\": $pairs"; prints '"rejected": 0'
check [ "$(sed 's/, *"layout": *"[a-z_]*"//' "$T/a/pairs.jsonl" | sort | cksum)" = "$(sed 's/, *"layout": *"[a-z_]*"//' "$T/again/pairs.jsonl" | sort | cksum)" ]

claim labels_of_people_go_into_a_store
run "$rlaif" convert --input "$T/all.jsonl" --store "$T/labels.db" --output_dir "$T/s"; exits 0
run "$rlaif" store "$T/labels.db" --export "$T/labels.jsonl" --rows labels --json
exits 0; prints '"labeler": "'; check grep -q '"labeler": *"people:tldr"' "$T/labels.jsonl"
check grep -q '"labeler": *"judge".*"value": *0.75' "$T/labels.jsonl"

claim labels_become_annotations_and_bench_rows
run "$rlaif" convert --input "$T/all.jsonl" --to alpaca_eval --output_dir "$T/al"; exits 0
check grep -q '"preference": 1.25' "$T/al/annotations.json"
run "$rlaif" convert --input "$T/all.jsonl" --to rewardbench --subset mine --output_dir "$T/rb"; exits 0
check [ "$(grep -c '"subset": *"mine"' "$T/rb/rewardbench.jsonl")" = "$pairs" ]

claim what_is_no_comparison_is_refused_with_its_columns
echo '{"text":"x","other":1}' >"$T/none.jsonl"
run "$rlaif" convert --input "$T/none.jsonl" --output_dir "$T/n"; exits 1; says none.jsonl; says "columns text, other"

hh=../shared/data/hh-harmless-test.jsonl.gz
if [ -r $hh ]; then
    claim hh_is_read_whole
    run "$rlaif" convert --input $hh --output_dir "$T/hh" --json; exits 0; prints '"hh": 2312'; prints '"rejected": 0'
    claim gsm8k_is_read_whole
    run "$rlaif" convert --input ../shared/data/gsm8k-test.jsonl.gz --output_dir "$T/g" --json; exits 0; prints '"examples": 1319'
    claim alpaca_eval_s_annotations_go_round
    for f in ../shared/data/alpaca_eval/*/{alpaca-7b,phi-2}.json.gz; do
        [ -r "$f" ] || continue
        run "$rlaif" convert --input "$f" --to alpaca_eval --output_dir "$T/ev"; exits 0
        # the judge's numbers, draws being 1.5 here
        number() { grep -o '"preference": *[0-9.]*' | grep -o '[0-9.]*$' | sed 's/\.0$//; s/^0$/1.5/'; }
        check [ "$(zcat "$f" | number | cksum)" = "$(number <"$T/ev/annotations.json" | cksum)" ]
    done
else
    skip real_data "../shared/data is not here"
fi
