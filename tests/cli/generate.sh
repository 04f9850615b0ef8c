#!/bin/bash
# generate, logprobs and score on a tiny random model: what comes out agrees with each other, whatever the batch.
. "$(dirname "$0")/kit.sh"
export RLAIF_THREADS=1
cd "$root"
tiny=tests/vectors/gguf/tiny.gguf

cat >"$T/prompts.jsonl" <<'END'
{"id": "a", "prompt": "Once upon a time", "kept": 1}
{"prompt": "The dog"}
{"no_prompt": true}
{"prompt": "Summary: 12 apples"}
END
gen() { run "$rlaif" generate -m $tiny --input "$T/prompts.jsonl" --quiet --json "$@"; }

claim completions_are_added_to_the_rows
gen --output "$T/a.jsonl" --num_return_sequences 3 --max_new_tokens 9 --seed 5
exits 0; prints '"completions": 9'; prints '"prompts": 3'; prints '"rejected": 1'
check [ "$(wc -l <"$T/a.jsonl")" = 3 ]
check grep -q '"id": *"a".*"kept": *1.*"completions": *\[' "$T/a.jsonl"
check grep -q no_prompt "$T/a.rejected.jsonl"
absent "$T/a.jsonl.unfinished"

claim completions_do_not_depend_on_the_batch_or_the_threads
gen --output "$T/b.jsonl" --num_return_sequences 3 --max_new_tokens 9 --seed 5 --batch_size 2; exits 0; same "$T/a.jsonl" "$T/b.jsonl"
gen --output "$T/b.jsonl" --num_return_sequences 3 --max_new_tokens 9 --seed 5 --threads 2; exits 0; same "$T/a.jsonl" "$T/b.jsonl"
gen --output "$T/b.jsonl" --num_return_sequences 3 --max_new_tokens 9 --seed 6; exits 0
check [ "$(cmp -s "$T/a.jsonl" "$T/b.jsonl"; echo $?)" = 1 ]

claim nor_on_the_cache_in_which_a_request_that_cannot_fit_is_refused
gen --output "$T/b.jsonl" --num_return_sequences 3 --max_new_tokens 9 --seed 5 --cache_tokens 64; exits 0; same "$T/a.jsonl" "$T/b.jsonl"
gen --output "$T/x.jsonl" --max_new_tokens 90 --seed 5 --cache_tokens 64; exits 1; says "prompt 1: a prompt of"; says "the cache holds 64"; absent "$T/x.jsonl"
gen --output "$T/x.jsonl" --cache_tokens -5; exits 2; says cache_tokens

claim a_prompt_s_first_samples_do_not_depend_on_how_many_there_are
gen --output "$T/one.jsonl" --max_new_tokens 9 --seed 5; exits 0
first=$(sed -n 's/.*"completions": *\["\(.*\)"\].*/\1/p' "$T/one.jsonl" | head -1)
check grep -qF "[\"$first\"," "$T/a.jsonl"

claim greedy_ignores_the_seed
gen --output "$T/g1.jsonl" --max_new_tokens 9 --temperature 0 --seed 1; exits 0
gen --output "$T/g2.jsonl" --max_new_tokens 9 --temperature 0 --seed 2; exits 0
same "$T/g1.jsonl" "$T/g2.jsonl"

claim a_stop_string_ends_a_completion_before_it
text() { sed -n 's/.*"completions": *\["\(.*\)"\].*/\1/p' "$1" | sed -n "$2p"; }
word=$(text "$T/g1.jsonl" 1 | grep -o '[a-zA-Z][a-zA-Z]' | tail -1)
check [ -n "$word" ]
gen --output "$T/s.jsonl" --max_new_tokens 9 --temperature 0 --stop "$word"; exits 0
before=$(text "$T/g1.jsonl" 1)
check [ "$(text "$T/s.jsonl" 1)" = "${before%%"$word"*}" ]

claim unusable_values_are_usage_errors
gen --output "$T/x.jsonl" --temperature -1; exits 2; says temperature; absent "$T/x.jsonl"
gen --output "$T/x.jsonl" --max_new_tokens 0; exits 2; says max_new_tokens
gen --output "$T/x.jsonl" --num_return_sequences 0; exits 2; says num_return_sequences
gen --output "$T/x.jsonl" --top_p 0; exits 2; says top_p

claim an_output_that_cannot_be_written_is_named
gen --output "$T/prompts.jsonl/x.jsonl"; exits 1; says "$T/prompts.jsonl"
gen --output "$T/new/folder/x.jsonl" --max_new_tokens 1; exits 0; present "$T/new/folder/x.jsonl"
echo '{"nothing": 1}' >"$T/none.jsonl"
run "$rlaif" generate -m $tiny --input "$T/none.jsonl" --output "$T/x.jsonl"; exits 1; says none.jsonl; absent "$T/x.jsonl"

claim a_killed_recipe_goes_on_in_the_middle_and_ends_with_the_same_bytes
for i in $(seq 60); do echo "{\"prompt\": \"Story $i of the dog\"}"; done >"$T/many.jsonl"
cat >"$T/recipe.yaml" <<END
output_dir: $T/killed
stages:
  g:
    stage: generate
    model_name_or_path: $tiny
    input: $T/many.jsonl
    output: \${out}/o.jsonl
    max_new_tokens: 150
    num_return_sequences: 4
    batch_size: 8
END
"$rlaif" run "$T/recipe.yaml" --quiet >/dev/null 2>&1 &
pid=$!
for i in $(seq 500); do
    [ -s "$T/killed/o.jsonl.unfinished" ] && break
    sleep 0.01
done
kill -9 $pid
wait $pid 2>/dev/null || true
check [ -s "$T/killed/o.jsonl.unfinished" ]
absent "$T/killed/o.jsonl"
run "$rlaif" run "$T/recipe.yaml" --quiet; exits 0
run "$rlaif" run "$T/recipe.yaml" --quiet --output_dir "$T/straight"; exits 0
same "$T/killed/o.jsonl" "$T/straight/o.jsonl"
fresh() { sed -n "s/.*\"$2\": *\\([0-9]*\\).*/\\1/p" "$1/stages/g.json" | head -1; }
check [ "$(fresh "$T/killed" completions)" = 240 ]
check [ "$(fresh "$T/killed" tokens)" -lt "$(fresh "$T/straight" tokens)" ]     # it did not begin again

claim an_interrupted_command_says_so_and_leaves_nothing
"$rlaif" generate -m $tiny --input "$T/many.jsonl" --output "$T/int.jsonl" --max_new_tokens 150 --num_return_sequences 4 --batch_size 4 >"$OUT" 2>"$ERR" &
pid=$!
for i in $(seq 500); do
    [ -s "$T/int.jsonl.unfinished" ] && break
    sleep 0.01
done
kill -INT $pid
rc=0; wait $pid || rc=$?
kit_last="generate, interrupted"
exits 1; says interrupted; absent "$T/int.jsonl"; absent "$T/int.jsonl.unfinished"

# ---- log-probs --------------------------------------------------------------------------------

cat >"$T/rows.jsonl" <<'END'
{"prompt": "Once upon a time", "completion": " there was a dog"}
{"prompt": "Once upon a time", "completion": " no"}
{"prompt": "The dog", "completion": " ate 12 apples and slept"}
END
lp() { run "$rlaif" logprobs -m $tiny --input "$T/rows.jsonl" --quiet --json --dtype float32 "$@"; }

claim log_probs_have_an_id_each_and_sum_up
lp --output "$T/l.jsonl"; exits 0; prints '"rows": 3'
check [ "$(wc -l <"$T/l.jsonl")" = 3 ]
check awk -F'[][]' '{ n = split($2, id, ","); m = split($4, p, ","); s = 0; for (i = 1; i <= m; i++) s += p[i];
    split($0, q, "\"sum\":"); d = s - (q[2] + 0); if (n != m || n < 1 || s >= 0 || d > 1e-4 || d < -1e-4) exit 1 }' "$T/l.jsonl"

claim log_probs_do_not_depend_on_what_is_computed_together
lp --output "$T/m.jsonl" --max_tokens_per_batch 1; exits 0; same "$T/l.jsonl" "$T/m.jsonl"
sed -n 3p "$T/rows.jsonl" >"$T/last.jsonl"
run "$rlaif" logprobs -m $tiny --input "$T/last.jsonl" --output "$T/m.jsonl" --dtype float32 --threads 2 --quiet; exits 0
sed -n 3p "$T/l.jsonl" >"$T/third.jsonl"; same "$T/third.jsonl" "$T/m.jsonl"

claim a_greedy_token_is_the_likeliest_for_logprobs_too
sed -n 2p "$T/g1.jsonl" | sed 's/"completions": *\[\(".*"\)\]/"completion": \1/' >"$T/greedy.jsonl"
sed 's/"completion": ".*"/"completion": " zebra"/' "$T/greedy.jsonl" >>"$T/greedy.jsonl"
run "$rlaif" logprobs -m $tiny --input "$T/greedy.jsonl" --output "$T/gl.jsonl" --quiet; exits 0
check awk -F'"logprobs": *\\[' '{ split($2, p, /[],]/); first[NR] = p[1] + 0 } END { exit !(first[1] >= first[2]) }' "$T/gl.jsonl"

claim rows_without_a_completion_are_listed_not_dropped
echo '{"prompt": "x"}' >>"$T/rows.jsonl"
lp --output "$T/m.jsonl"; exits 0; prints '"rejected": 1'; same "$T/l.jsonl" "$T/m.jsonl"; present "$T/m.rejected.jsonl"
lp --output "$T/m.jsonl" --temperature 0; exits 2; says temperature

# ---- scores ---------------------------------------------------------------------------------------

claim a_language_model_is_no_reward_model
run "$rlaif" score -m $tiny --input "$T/rows.jsonl" --output "$T/sc.jsonl"; exits 1; says "score.weight"; absent "$T/sc.jsonl"

claim scores_are_added_and_normalised
cat >"$T/pairs.jsonl" <<'END'
{"prompt": "Once upon a time", "chosen": " there was a dog", "rejected": " no"}
{"prompt": "The dog", "chosen": " ate apples", "rejected": " slept", "label_prob": 0.7}
END
run "$rlaif" reward -m $tiny --dataset_name "$T/pairs.jsonl" --output_dir "$T/rm" --max_steps 2 --learning_rate 1e-3 --normalize_on "$T/a.jsonl" --quiet
exits 0
run "$rlaif" score -m "$T/rm" --input "$T/a.jsonl" --output "$T/sa.jsonl" --quiet --json; exits 0; prints '"texts": 9'
mean=$(sed -n 's/.*"mean_score": *\([-0-9.e+]*\).*/\1/p' "$OUT")
check awk "BEGIN { exit !($mean < 0.01 && $mean > -0.01) }"
head -3 "$T/rows.jsonl" >"$T/three.jsonl"
run "$rlaif" score -m "$T/rm" --input "$T/three.jsonl" --output "$T/sc.jsonl" --quiet --json; exits 0
check [ "$(grep -c '"completion".*"score": *-\?[0-9].*"raw_score": *-\?[0-9].*"ids": *\[[0-9]' "$T/sc.jsonl")" = 3 ]

claim scores_do_not_depend_on_the_company
sed -n 2p "$T/three.jsonl" >"$T/two.jsonl"
run "$rlaif" score -m "$T/rm" --input "$T/two.jsonl" --output "$T/alone.jsonl" --quiet; exits 0
sed -n 2p "$T/sc.jsonl" >"$T/second.jsonl"; same "$T/alone.jsonl" "$T/second.jsonl"

claim a_reward_model_is_no_language_model
run "$rlaif" generate -m "$T/rm" --input "$T/prompts.jsonl" --output "$T/x.jsonl"; exits 1; says "score.weight"
