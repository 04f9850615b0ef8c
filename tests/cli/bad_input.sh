#!/bin/bash
# Data sets that are broken, empty or of the wrong kind; disks that fill up; losses that are no numbers.
. "$(dirname "$0")/kit.sh"
. tests/tiny.sh
model=$lab_s
if [ ! -f $model/model.safetensors ]; then skip bad_input "models/s is not here (make lab-models)"; exit 0; fi
world=$T/world
"$rlaif" lab --output_dir "$world" --sft_prompts 12 --train_prompts 6 --eval_prompts 4 --quiet >/dev/null
sft() { run "$rlaif" sft -m $model --dataset_name "$1" --output_dir "$T/out" --max_steps 1 --overwrite_output_dir "${@:2}"; }

claim broken_rows_are_listed_and_the_rest_is_used
{ head -4 "$world/sft.jsonl"; echo '{"prompt": "cut sho'; echo '{"id": "x"}'; echo '[1, 2]'; } >"$T/mixed.jsonl"
sft "$T/mixed.jsonl"; exits 0; says "3 of 7 rows"; present "$T/out/model.safetensors"
check [ "$(wc -l <"$T/out/rejected.jsonl")" = 3 ]
check grep -q '"line": 5' "$T/out/rejected.jsonl"
check grep -q "'prompt' is missing\|neither 'prompt'" "$T/out/rejected.jsonl"

claim a_data_set_without_usable_rows_is_an_error
rm -rf "$T/out"
printf '{"question": "a"}\n{"question": "b"}\n' >"$T/other.jsonl"
sft "$T/other.jsonl"; exits 1; says "other.jsonl"; says "line 1"; absent "$T/out/model.safetensors"
run "$rlaif" generate -m $model --input "$T/other.jsonl" --output "$T/g.jsonl"; exits 1; says "'prompt' is missing"; absent "$T/g.jsonl"

claim an_empty_data_set_is_an_error
: >"$T/empty.jsonl"
sft "$T/empty.jsonl"; exits 1; says "empty.jsonl"; says "is empty"
for c in "generate --output $T/g.jsonl" "logprobs --output $T/g.jsonl"; do
    run "$rlaif" ${c%% *} -m $model --input "$T/empty.jsonl" ${c#* }; exits 1; says "is empty"; absent "$T/g.jsonl"
done
run "$rlaif" label --labeler $model --input "$T/empty.jsonl" --output_dir "$T/l"; exits 1; says "is empty"; absent "$T/l/pairs.jsonl"
run "$rlaif" reward -m $model --dataset_name "$T/empty.jsonl" --output_dir "$T/rm"; exits 1; says "is empty"

claim a_missing_file_is_named
sft "$T/nowhere.jsonl"; check [ $rc = 1 -o $rc = 2 ]; says "nowhere.jsonl"
run "$rlaif" sft -m "$T/no-model" --dataset_name "$world/sft.jsonl" --output_dir "$T/o2"; check [ $rc = 1 -o $rc = 2 ]; says "no-model"

claim a_compressed_file_that_is_cut_is_an_error
gzip -c "$world/sft.jsonl" | head -c 400 >"$T/cut.jsonl.gz"
sft "$T/cut.jsonl.gz"; exits 1; says "cut.jsonl.gz"; says "too early"

claim a_file_of_something_else_is_an_error
sft "$rlaif"; exits 1; says "none of the first"

claim a_full_disk_is_a_sentence_and_leaves_no_model
rm -rf "$T/out"
( ulimit -f 100; exec "$rlaif" sft -m $model --dataset_name "$world/sft.jsonl" --output_dir "$T/out" --max_steps 1 ) >"$OUT" 2>"$ERR"; rc=$?
exits 1; says "writing failed"; absent "$T/out/model.safetensors"
check [ -z "$(find "$T/out" -name '*.partial')" ]

claim a_loss_that_is_no_number_stops_and_names_a_tensor
rm -rf "$T/out"
sft "$world/sft.jsonl" --max_steps 50 --learning_rate 1e30 --max_grad_norm 0; exits 1; says "step"; says "the first tensor"; says "finite"
absent "$T/out/model.safetensors"

claim broken_model_files_are_refused_with_their_name
cp -r $model "$T/m"
head -c 1000 "$model/model.safetensors" >"$T/m/model.safetensors"
run "$rlaif" logprobs -m "$T/m" --input "$world/sft.jsonl" --output "$T/lp.jsonl"; exits 1; says "model.safetensors"; absent "$T/lp.jsonl"
cp "$model/model.safetensors" "$T/m/"; echo '{"model_type": "llama"' >"$T/m/config.json"
run "$rlaif" logprobs -m "$T/m" --input "$world/sft.jsonl" --output "$T/lp.jsonl"; exits 1; says "config.json"
cp "$model/config.json" "$T/m/"; echo '{}' >"$T/m/tokenizer.json"
run "$rlaif" tokenize -m "$T/m"; exits 1; says "tokenizer.json"
head -c 300 /dev/urandom >"$T/m.gguf"
run "$rlaif" inspect "$T/m.gguf"; exits 1; says "m.gguf"
