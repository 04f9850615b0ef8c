#!/bin/bash
# rlaif lab: worlds, corpora, newborn and grown models, oracle scores.
. "$(dirname "$0")/kit.sh"
export RLAIF_THREADS=1
cd "$root"
lab() { run "$rlaif" lab --quiet "$@"; }

claim a_world_is_a_function_of_its_seed
lab --output_dir "$T/a" --seed 5 --train_prompts 30 --sft_prompts 20 --eval_prompts 10; exits 0
lab --output_dir "$T/b" --seed 5 --train_prompts 30 --sft_prompts 20 --eval_prompts 10; exits 0
for f in prompts sft eval truth; do same "$T/a/$f.jsonl" "$T/b/$f.jsonl"; done
check [ "$(wc -l <"$T/a/truth.jsonl")" = 60 ]
check [ "$(grep -c '"salience"' "$T/a/sft.jsonl")" = 0 ]

claim missing_and_wild_options_are_usage_errors
lab; exits 2; says "--output_dir is needed"
lab --output_dir "$T/c" --train_prompts -4; exits 2; says "train_prompts"
lab --make corpus --output "$T/c.jsonl" --facts_max 40; exits 2; says "facts_max"
lab --make moon; exits 2; says "moon"

claim references_are_scored_and_judged
sed 's/"prompt": *"[^"]*", *//' "$T/a/eval.jsonl" >"$T/in.jsonl"
lab --make score --truth "$T/a/truth.jsonl" --input "$T/in.jsonl" --output "$T/out.jsonl"; exits 0; prints scored
check [ "$(grep -c '"oracle"' "$T/out.jsonl")" = 10 ]
echo '{"id": "tldr-5-eval-00000", "chosen": "Nothing.", "rejected": "Nothing."}' >"$T/in.jsonl"
lab --make score --truth "$T/a/truth.jsonl" --input "$T/in.jsonl" --output "$T/out.jsonl"; exits 0
check grep -q '"preferred": *0' "$T/out.jsonl"

claim an_unknown_post_is_named_with_its_line
echo '{"id": "nobody", "completion": "x"}' >"$T/in.jsonl"
lab --make score --truth "$T/a/truth.jsonl" --input "$T/in.jsonl" --output "$T/no.jsonl"; exits 1; says nobody; says "line 1"
absent "$T/no.jsonl"

claim a_newborn_can_be_read_and_a_grown_model_computes_the_same
lab --make newborn --output_dir "$T/small" --width 64 --layers 2 --heads 2 --kv_heads 1 --ffn 96 --documents 1500; exits 0
lab --make grown --input "$T/small" --more_layers 3 --output_dir "$T/grown"; exits 0
head -3 "$T/a/sft.jsonl" >"$T/rows.jsonl"
for m in small grown; do
    run "$rlaif" logprobs -m "$T/$m" --dtype float32 --input "$T/rows.jsonl" --output "$T/$m.jsonl"; exits 0
done
same "$T/small.jsonl" "$T/grown.jsonl"
check grep -q '"num_hidden_layers": *5' "$T/grown/config.json"

claim a_damaged_model_is_not_grown
mkdir "$T/bad"; cp "$T/small"/*.json "$T/bad"; head -c 100 "$T/small/model.safetensors" >"$T/bad/model.safetensors"
lab --make grown --input "$T/bad" --more_layers 1 --output_dir "$T/worse"; exits 1; says model.safetensors
absent "$T/worse/model.safetensors"

claim a_corpus_has_its_options_beside_it
lab --make corpus --output "$T/c.jsonl" --documents 40 --verdict 1; exits 0
check [ "$(wc -l <"$T/c.jsonl")" = 40 ]
check grep -q '"verdict": *1' "$T/c.jsonl.json"
