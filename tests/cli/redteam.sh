#!/bin/bash
# redteam: seeds, answers, verdicts, rewrites and pairs in their files; what is asked once is not asked again.
. "$(dirname "$0")/kit.sh"
export RLAIF_THREADS=1
tiny=tests/vectors/gguf/tiny.gguf
attack() { run "$rlaif" redteam --labeler $tiny --min_label_mass 0 --min_coverage 0 --max_new_tokens 8 --json "$@"; }

claim every_prompt_is_answered_judged_and_listed
attack --seeds examples/redteam_seeds.jsonl --policy $tiny --num_return_sequences 2 --variants 1 --output_dir "$T/a"
exits 0; prints '"attack_success_ci"'; prints '"over_refusal"'; prints '"benign": 8'; prints '"choices"'
rows=$(wc -l <"$T/a/attacks.jsonl")
check [ "$rows" -ge 16 ]
for key in prompt harm form seed success selected answers; do check [ "$(grep -c "\"$key\":" "$T/a/attacks.jsonl")" = "$rows" ]; done
cp -r "$T/a" "$T/a1"
attack --seeds examples/redteam_seeds.jsonl --policy $tiny --num_return_sequences 2 --variants 1 --output_dir "$T/a"
exits 0; prints '"replies_computed": 0'
same "$T/a/attacks.jsonl" "$T/a1/attacks.jsonl"; same "$T/a/pairs.jsonl" "$T/a1/pairs.jsonl"

claim answers_that_exist_are_judged_as_they_are
echo '{"prompt":"x","harm":"h","completions":["one","two"],"harmful":[true,false]}' >"$T/own.jsonl"
echo '{"prompt":"y","completions":["one","two"],"harmful":[true]}' >>"$T/own.jsonl"
attack --seeds "$T/own.jsonl" --rewrites all --output_dir "$T/b"
exits 0; prints '"detection_accuracy"'; prints '"answers": 2'; prints '"rejected": 1'
check grep -q "one boolean for each completion" "$T/b/rejected.jsonl"

claim what_cannot_be_is_refused
attack --seeds examples/redteam_seeds.jsonl --output_dir "$T/c"; exits 2; says "need a --policy"
attack --seeds examples/redteam_seeds.jsonl --policy $tiny --num_return_sequences 1000 --output_dir "$T/c"; exits 2; says "expected 1 to 64"
