#!/bin/bash
# split, label and eval on a tiny random model: which rows come out, what a second run costs, what a kill leaves.
. "$(dirname "$0")/kit.sh"
export RLAIF_THREADS=1
tiny=tests/vectors/gguf/tiny.gguf

for i in $(seq 150); do
    echo "{\"chosen\":\"\\n\\nHuman: question $((i / 2))\\n\\nAssistant: no, $i is too much\",\"rejected\":\"\\n\\nHuman: question $((i / 2))\\n\\nAssistant: yes, $i it is\"}"
done >"$T/hh.jsonl"
echo '{"chosen":"no transcript","rejected":"nor this"}' >>"$T/hh.jsonl"

claim parts_share_no_conversation
run "$rlaif" split --input "$T/hh.jsonl" --parts train=0.6,test=0.4 --output_dir "$T/parts" --json
exits 0; prints '"rows": 150'; prints '"rejected": 1'
check [ "$(cat "$T/parts/train.jsonl" "$T/parts/test.jsonl" | wc -l)" = 150 ]
questions() { grep -o 'question [0-9]*' "$T/parts/$1.jsonl" | sort -u; }
check [ -z "$(comm -12 <(questions train) <(questions test))" ]
check [ "$(questions train | wc -l)" = "$(wc -l <"$T/parts/train_prompts.jsonl")" ]

claim parts_can_be_bounded_and_must_make_sense
run "$rlaif" split --input "$T/hh.jsonl" --parts a=0.5:7 b=0.5 --output_dir "$T/p2"; exits 0
check [ "$(wc -l <"$T/p2/a.jsonl")" = 7 ]
run "$rlaif" split --input "$T/hh.jsonl" --parts a=0.7,b=0.7 --output_dir "$T/p3"; exits 2; says "add up to"
run "$rlaif" split --input "$T/hh.jsonl" --parts a --output_dir "$T/p3"; exits 2; says "NAME=SHARE"

label() { run "$rlaif" label --labeler $tiny --task harmless --wording harmless --preamble better --min_label_mass 0 --json "$@"; }

claim labels_come_with_both_orders_and_provenance
label --input "$T/hh.jsonl" --output_dir "$T/a"
exits 0; prints '"pairs": 150'; prints '"replies_computed": 300'; prints '"same_slot_ci"'
check [ "$(wc -l <"$T/a/pairs.jsonl")" = 150 ]
for key in prompt chosen rejected label_prob label_order_a label_order_b label_mass same_slot labeler protocol id; do
    check [ "$(grep -c "\"$key\":" "$T/a/pairs.jsonl")" = 150 ]
done
check grep -q '"human":' "$T/a/labels.jsonl"
check grep -q '"reason"' "$T/a/rejected.jsonl"

claim labelling_again_computes_nothing_and_writes_the_same
cp -r "$T/a" "$T/first"
label --input "$T/hh.jsonl" --output_dir "$T/a"
exits 0; prints '"replies_computed": 0'; prints '"replies_found": 300'
same "$T/a/pairs.jsonl" "$T/first/pairs.jsonl"; same "$T/a/labels.jsonl" "$T/first/labels.jsonl"

claim a_store_can_be_shared
label --input "$T/hh.jsonl" --max_pairs 20 --store "$T/a/labels.db" --output_dir "$T/b"
exits 0; prints '"replies_computed": 0'; absent "$T/b/labels.db"

claim another_wording_is_asked_anew
label --input "$T/hh.jsonl" --max_pairs 20 --store "$T/a/labels.db" --preamble best --output_dir "$T/b"
exits 0; prints '"replies_computed": 40'

claim a_kill_costs_at_most_a_unit_and_changes_no_byte
for wait in 0.05 0.1 0.2; do
    "$rlaif" label --labeler $tiny --task harmless --wording harmless --preamble better --min_label_mass 0 --input "$T/hh.jsonl" \
        --output_dir "$T/k" >/dev/null 2>&1 &
    pid=$!
    sleep $wait
    kill -9 $pid 2>/dev/null
    wait $pid 2>/dev/null
done
label --input "$T/hh.jsonl" --output_dir "$T/k"
exits 0; same "$T/k/pairs.jsonl" "$T/a/pairs.jsonl"

claim little_mass_on_the_label_words_is_no_label
label --input "$T/hh.jsonl" --min_label_mass 0.9 --store "$T/a/labels.db" --output_dir "$T/c"
exits 0; prints '"unanswered": 150'
check [ ! -s "$T/c/pairs.jsonl" ]
check [ "$(grep -c '"state": *"unanswered"' "$T/c/labels.jsonl")" = 150 ]

claim a_labelling_that_does_not_cover_its_pairs_prints_no_rate
{ head -3 "$T/hh.jsonl"; echo "{\"prompt\":\"\\n\\nHuman: $(printf 'long %.0s' $(seq 3000))\\n\\nAssistant:\",\"chosen\":\" a\",\"rejected\":\" b\"}"; } >"$T/long.jsonl"
label --input "$T/long.jsonl" --output_dir "$T/cov"
exits 1; says "1 of 4 pairs have no label (0 failed, 1 too long"; says "--min_coverage is 1"
check [ ! -s "$OUT" ]
check [ "$(grep -c '"state": *"too_long"' "$T/cov/labels.jsonl")" = 1 ]
label --input "$T/long.jsonl" --min_coverage 0.75 --output_dir "$T/cov"
exits 0; prints '"too_long": 1'; prints '"replies_computed": 0'
label --input "$T/long.jsonl" --min_coverage 2 --output_dir "$T/cov"; exits 2; says "min_coverage is 2"

claim a_store_lists_exports_and_merges
run "$rlaif" store "$T/a/labels.db" --json
exits 0; prints '"replies": 300'; prints '"replies": 40'; prints '"labels": 20'; prints '"failed": 0'
label --input "$T/hh.jsonl" --max_pairs 30 --preamble third --output_dir "$T/m"; exits 0
run "$rlaif" store "$T/m/labels.db" --merge "$T/a/labels.db" --export "$T/replies.jsonl" --vacuum --json
exits 0; prints '"replies_added": 340'; prints '"conflicts": 0'; prints '"exported": 400'
check [ "$(grep -c '"prompt": *".*More harmless response=", *$\|More harmless response="' "$T/replies.jsonl")" = 400 ]
check [ "$(grep -c '"logps": *\[\[' "$T/replies.jsonl")" = 400 ]
label --input "$T/hh.jsonl" --store "$T/m/labels.db" --output_dir "$T/m2"
exits 0; prints '"replies_computed": 0'; same "$T/m2/pairs.jsonl" "$T/a/pairs.jsonl"
run "$rlaif" store "$T/none.db"; exits 1; says none.db
run "$rlaif" store "$T/m/labels.db" --merge "$T/hh.jsonl"; exits 1; says hh.jsonl; says "label store"

claim what_is_no_store_is_refused
echo "not a database, but long enough to have a header of its own ............................................" >"$T/junk.db"
label --input "$T/hh.jsonl" --store "$T/junk.db" --output_dir "$T/d"
exits 1; says junk.db; says "label store"

claim a_labeler_is_needed
run "$rlaif" label --input "$T/hh.jsonl" --output_dir "$T/d"; exits 2; says --labeler

claim eval_compares_labels_with_people
run "$rlaif" eval --labels "$T/a/labels.jsonl" --calibration "$T/a/labels.jsonl" --output_dir "$T/e" --json
exits 0; prints '"labeler_pairs": 150'; prints '"labeler_alignment_ci"'; prints '"labeler_temperature"'; prints '"reliability"'
present "$T/e/eval_results.json"
prints '"labeler_shorter_agreement": 0.0'       # here people always preferred the longer one

claim eval_compares_policies
head -12 "$T/parts/test_prompts.jsonl" >"$T/prompts.jsonl"
run "$rlaif" eval --policy $tiny --baseline $tiny --prompts "$T/prompts.jsonl" --judge $tiny --task helpful --preamble better --min_label_mass 0 \
    --max_new_tokens 8 --output_dir "$T/f" --json
exits 0; prints '"policy_prompts": 12'; prints '"policy_win_rate_ci"'; prints '"policy_win_rate_lc_ci"'
prints '"policy_kl": 0.0'                       # a model does not drift from itself
check [ "$(wc -l <"$T/f/completions.jsonl")" = 12 ]
check grep -q '"before":.*"after":' "$T/f/samples.jsonl"

claim eval_says_what_it_lacks
run "$rlaif" eval --output_dir "$T/g"; exits 2; says --labels
run "$rlaif" eval --policy $tiny --prompts "$T/prompts.jsonl" --output_dir "$T/g"; exits 2; says --baseline
run "$rlaif" eval --labels "$T/a/labels.jsonl" --reward_model $tiny --output_dir "$T/g"; exits 1; says "scalar head"

claim transcripts_become_conversations
run "$rlaif" split --input "$T/hh.jsonl" --parts all=1 --format messages --output_dir "$T/chat"; exits 0
check [ "$(grep -c '"prompt": *\[{"role": *"user", *"content": *"question [0-9]*"}\]' "$T/chat/all.jsonl")" = 150 ]
check [ "$(grep -c '"rejected": *\[{"role": *"assistant", *"content": *"yes, [0-9]* it is"}\]' "$T/chat/all.jsonl")" = 150 ]
label --input "$T/chat/all.jsonl" --output_dir "$T/h"
exits 0; prints '"replies_found": 0'; prints '"pairs": 150'

claim people_of_the_lab_can_be_hired
run "$rlaif" lab --world tldr --output_dir "$T/world" --sft_prompts 4 --train_prompts 4 --eval_prompts 40 --seed 3; exits 0
# two candidates each: the reference, and the reference of the post before
sed -n 's/^{"id": *"\([^"]*\)", *"prompt": *\(".*"\), *"completion": *\(".*"\)}$/\1\t\2\t\3/p' "$T/world/eval.jsonl" |
    awk -F'\t' 'NR > 1 { printf "{\"id\":\"%s\",\"prompt\":%s,\"completions\":[%s,%s]}\n", $1, $2, $3, last } { last = $3 }' >"$T/two.jsonl"
check [ "$(wc -l <"$T/two.jsonl")" = 39 ]
run "$rlaif" label --truth "$T/world/truth.jsonl" --input "$T/two.jsonl" --output_dir "$T/people" --json
exits 0; prints '"pairs": 39'; check [ "$(grep -c '"label_prob": *1' "$T/people/pairs.jsonl")" = 39 ]

claim eval_asks_the_annotators
run "$rlaif" eval --labels "$T/people/labels.jsonl" --truth "$T/world/truth.jsonl" --output_dir "$T/i" --json
exits 0; prints '"annotators_agreement"'; prints '"labeler_alignment_confident"'
# people see that a summary of another post is worse
check [ "$(sed -n 's/.*"labeler_alignment": *0\.\([0-9]\).*/\1/p;s/.*"labeler_alignment": *1.*/9/p' "$OUT" | head -1)" -ge 8 ]

claim eval_takes_completions_from_files
tail -39 "$T/world/eval.jsonl" >"$T/rest.jsonl"
sed 's/"completions": *\[.*$/"completion":""}/' "$T/two.jsonl" >"$T/empty.jsonl"
run "$rlaif" eval --policy_completions "$T/rest.jsonl" --baseline_completions "$T/empty.jsonl" --prompts "$T/rest.jsonl" \
    --truth "$T/world/truth.jsonl" --output_dir "$T/j" --json
exits 0; prints '"policy_prompts": 39'; prints '"policy_kl": null'; prints '"policy_oracle_gain_ci"'
run "$rlaif" eval --policy_completions "$T/two.jsonl" --baseline_completions "$T/empty.jsonl" --prompts "$T/world/eval.jsonl" \
    --output_dir "$T/j"
exits 1; says "no completion for the prompt with id"

claim eval_scores_reward_models_and_what_the_policy_gained
run "$rlaif" reward -m $tiny --dataset_name "$T/parts/train.jsonl" --max_steps 2 --per_device_train_batch_size 4 --output_dir "$T/rm"; exits 0
run "$rlaif" eval --pairs "$T/parts/test.jsonl" --reward_model "$T/rm" --reward_model_human "$T/rm" --reward_model_judge "$T/rm" \
    --policy $tiny --baseline $tiny --prompts "$T/prompts.jsonl" --max_new_tokens 8 --output_dir "$T/l" --json
exits 0
for key in reward_accuracy reward_human_accuracy reward_judge_accuracy policy_reward_gain policy_human_reward_gain; do
    prints "\"${key}_ci\": ["
done
prints '"policy_win_rate": null'                # nobody was asked
prints "\"reward_pairs\": $(wc -l <"$T/parts/test.jsonl")"
