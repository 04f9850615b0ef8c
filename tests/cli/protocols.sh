#!/bin/bash
# Every protocol from the command line, with the lab's labelers: label, rate, revise, a labeler as the reward, and what is shown
# before anything is asked.
. "$(dirname "$0")/kit.sh"
export RLAIF_THREADS=1
if [ ! -f models/l/model.safetensors ]; then skip protocols "models/l and models/s are not here (make lab-models)"; exit 0; fi

run "$rlaif" lab --world tldr --output_dir "$T/world" --sft_prompts 4 --train_prompts 8 --eval_prompts 25 --seed 3
# two candidates each: the reference, and the reference of the post before
sed -n 's/^{"id": *"\([^"]*\)", *"prompt": *\(".*"\), *"completion": *\(".*"\)}$/\1\t\2\t\3/p' "$T/world/eval.jsonl" |
    awk -F'\t' 'NR > 1 { printf "{\"id\":\"%s\",\"prompt\":%s,\"completions\":[%s,%s]}\n", $1, $2, $3, last } { last = $3 }' >"$T/two.jsonl"
for i in 1 2 3 4; do
    echo "{\"prompt\":[{\"role\":\"user\",\"content\":\"question $i\"}],\"chosen\":[{\"role\":\"assistant\",\"content\":\"no $i\"}],\"rejected\":[{\"role\":\"assistant\",\"content\":\"yes\"}]}"
done >"$T/chat.jsonl"

claim a_dry_run_shows_the_exact_question_its_tokens_and_the_label_words
run "$rlaif" label --protocol examples/protocol.yaml --dry-run --labeler models/l --input "$T/two.jsonl"
exits 0; prints "You choose what is read aloud"; prints "Read aloud:A"; prints "B: "; prints '"A"  as one of the tokens ['
prints "tokens, asked for a word"; absent "$T/labels.db"
run "$rlaif" label --dry_run --input "$T/chat.jsonl" --task helpful --json
exits 0; prints '"text": "You are an experienced judge of helpful'; prints 'Response 1 - Assistant: '; prints '"questions_per_row": 2'
run "$rlaif" label --dry_run --cot --chat --chat_template chatml --labeler models/s --input "$T/chat.jsonl" --task helpful
exits 0; prints "<|im_start|>assistant"; prints "(what it said)"

label() { run "$rlaif" label --labeler models/l --preamble lab --input "$T/two.jsonl" --store "$T/labels.db" --json "$@"; }

claim both_lab_labelers_answer_pairwise
for m in s l; do
    run "$rlaif" label --labeler models/$m --preamble lab --input "$T/two.jsonl" --output_dir "$T/$m" --json
    exits 0; prints '"pairs": 24'; prints '"unanswered": 0'
done
# The labeler that practised judging agrees with people more often than not.
run "$rlaif" eval --labels "$T/l/labels.jsonl" --truth "$T/world/truth.jsonl" --output_dir "$T/eval" --json
exits 0
check [ "$(sed -n 's/.*"labeler_alignment": *\([01]\.[0-9]\).*/\1/p' "$OUT" | head -1 | tr -d .)" -ge 6 ]

claim one_order_costs_half_and_is_the_same_again
label --output_dir "$T/both"; exits 0; prints '"replies_computed": 48'
label --order random --output_dir "$T/random"; exits 0; prints '"replies_computed": 0'; prints '"replies_found": 24'
check [ "$(grep -c '"label_order_a": *null\|"label_order_b": *null' "$T/random/labels.jsonl")" = 24 ]
check [ "$(grep -c '"label_order_a": *null' "$T/random/labels.jsonl")" -ge 3 ]
head -7 "$T/two.jsonl" >"$T/seven.jsonl"
run "$rlaif" label --labeler models/l --preamble lab --order random --input "$T/seven.jsonl" --output_dir "$T/random7"; exits 0
check cmp <(head -7 "$T/random/labels.jsonl") "$T/random7/labels.jsonl"

computed() { sed -n 's/.*"replies_computed": *\([0-9]*\).*/\1/p' "$OUT"; }

claim rationales_come_first_and_are_kept
label --cot --max_rationale_tokens 16 --max_pairs 4 --output_dir "$T/cot"
exits 0; prints '"replies_computed": 16'
check [ "$(grep -c '"rationale_a"' "$T/cot/labels.jsonl")" = 4 ]
label --cot --max_rationale_tokens 16 --rationales 3 --max_pairs 4 --output_dir "$T/cot3"
exits 0; check [ "$(computed)" -ge 24 ]     # at least the samples; equal rationales end in equal questions
label --cot --max_rationale_tokens 16 --rationales 3 --max_pairs 4 --output_dir "$T/cot3"
exits 0; prints '"replies_computed": 0'

claim constitution_own_and_votes_work_with_any_labeler
label --protocol constitution --task harmless --min_label_mass 0 --max_pairs 3 --output_dir "$T/const"
exits 0; check [ "$(grep -c '"principle": *[0-9]' "$T/const/labels.jsonl")" = 3 ]
label --protocol constitution --principle all --min_label_mass 0 --max_pairs 1 --output_dir "$T/const16"
exits 0; prints '"replies_computed": 30'; prints '"replies_found": 2'     # the drawn one of this pair was asked above
label --protocol examples/protocol.yaml --min_label_mass 0 --max_pairs 3 --output_dir "$T/own"; exits 0; prints '"replies_computed": 6'
label --votes 4 --max_pairs 2 --output_dir "$T/votes"; exits 0; prints '"replies_computed": 16'

claim mistakes_are_said_before_anything_is_asked
label --protocol examples/none.yaml --output_dir "$T/bad"; exits 1; says none.yaml
label --protocol constitutoin --output_dir "$T/bad"; exits 1; says "did you mean constitution?"
label --protocol constitution --principle 17 --output_dir "$T/bad"; exits 2; says "--principle is 17"
label --rationales 3 --output_dir "$T/bad"; exits 1; says "chain of thought"
cp -r models/s "$T/bare"; sed -i '/chat_template/d' "$T/bare/tokenizer_config.json"
run "$rlaif" label --labeler "$T/bare" --chat --input "$T/two.jsonl" --output_dir "$T/bad"; exits 2; says "has no chat template"
printf 'template: "{first} {second}"\nending: "="\nlable: [A, B]\n' >"$T/bad.yaml"
label --protocol "$T/bad.yaml" --output_dir "$T/bad"; exits 1; says "bad.yaml, line 3, 'lable'"; says "did you mean 'labels'?"
absent "$T/bad/labels.jsonl"
run "$rlaif" rate --protocol examples/protocol.yaml --labeler models/l --input "$T/world/eval.jsonl" --output_dir "$T/bad"
exits 1; says "compares pairs"

claim another_template_is_another_question
chat() { run "$rlaif" label --labeler models/s --task helpful --chat --min_label_mass 0 --input "$T/chat.jsonl" --store "$T/chat.db" --output_dir "$T/c" --json "$@"; }
chat --chat_template chatml; exits 0; prints '"replies_computed": 8'
chat --chat_template chatml; exits 0; prints '"replies_computed": 0'
echo '{% for m in messages %}[{{ m.role }}] {{ m.content }}{% endfor %} =>' >"$T/other.jinja"
chat --chat_template "$T/other.jinja"; exits 0; prints '"replies_computed": 8'

claim single_answers_are_rated
run "$rlaif" rate --labeler models/l --min_label_mass 0 --input "$T/two.jsonl" --output_dir "$T/rate" --json
exits 0; prints '"answers": 48'; prints '"score_ci"'; prints '"score_deviation"'
check [ "$(grep -c '"10": *[0-9]' "$T/rate/ratings.jsonl")" = 48 ]
# a score is the expectation of the ten probabilities, scaled
check awk '{ v = 0; for (i = 1; i <= 10; i++) { match($0, "\"" i "\": [0-9.e-]*"); v += i * substr($0, RSTART + length(i) + 4, RLENGTH) }
    match($0, /"score": [0-9.e-]*/); s = substr($0, RSTART + 9, RLENGTH - 9); d = s - (v - 5.5) / 4.5; if (d > 1e-9 || d < -1e-9) exit 1 }' "$T/rate/ratings.jsonl"
run "$rlaif" rate --labeler models/l --min_label_mass 0 --scale 0-4 --task harmless --input "$T/two.jsonl" --max_rows 3 --output_dir "$T/rate4" --json; exits 0
run "$rlaif" rate --dry_run --input "$T/two.jsonl"; exits 0; prints "SCORE:"
run "$rlaif" rate --input "$T/two.jsonl"; exits 2; says --labeler

claim answers_are_criticised_and_revised
run "$rlaif" revise --labeler models/l --input "$T/world/prompts.jsonl" --max_rows 3 --rounds 2 --max_new_tokens 12 --output_dir "$T/rev" --json
exits 0; prints '"answered_first": 3'; prints '"rounds": 2'
check [ "$(wc -l <"$T/rev/revisions.jsonl")" = 3 ]
check [ "$(grep -o '"principle": *[0-9]*' "$T/rev/revisions.jsonl" | wc -l)" = 6 ]
check [ "$(wc -l <"$T/rev/sft.jsonl")" = "$(sed -n 's/.*"sft_rows": *\([0-9]*\).*/\1/p' "$OUT")" ]
run "$rlaif" revise --labeler models/l --input "$T/world/prompts.jsonl" --max_rows 3 --rounds 2 --max_new_tokens 12 --output_dir "$T/rev" --json
exits 0; prints '"replies_computed": 0'

claim a_labeler_can_be_the_reward
run "$rlaif" rl -m models/s --ai_reward models/l --min_label_mass 0 --dataset_name "$T/world/prompts.jsonl" --max_steps 2 --per_device_train_batch_size 4 \
    --num_generations 2 --max_completion_length 8 --output_dir "$T/rl" --json
exits 0; prints '"samples_rated": 8'; prints '"samples_unrated": 0'; present "$T/rl/labels.db"
run "$rlaif" rl -m models/s --dataset_name "$T/world/prompts.jsonl" --output_dir "$T/rl2"; exits 2; says "--ai_reward"
run "$rlaif" rl -m models/s --ai_reward models/l --protocol examples/protocol.yaml --dataset_name "$T/world/prompts.jsonl" --output_dir "$T/rl2"
exits 2; says "needs a rating"

claim probes_say_whether_candidates_can_move_a_labeler
run "$rlaif" label --labeler models/l --preamble lab --input "$T/two.jsonl" --store "$T/labels.db" --probes recipes/probes/injection.jsonl --probe_pairs 4 \
    --output_dir "$T/probed" --json
exits 0; prints '"injection"'; prints '"control"'
check [ "$(grep -c '"asked": *[1-9]' "$OUT")" -ge 6 ]
