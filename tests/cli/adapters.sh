#!/bin/bash
# Adapters as typed: training writes PEFT folders, every command takes them, runs resume to the same bytes, other bases are refused.
. "$(dirname "$0")/kit.sh"
for seed in 1 2; do
    "$rlaif" lab --make newborn --output_dir "$T/new$seed" --width 32 --layers 1 --heads 1 --kv_heads 1 --ffn 64 --vocab_size 512 \
        --documents 100 --seed $seed --quiet >/dev/null
done
for w in red blue green pink gold; do
    echo "{\"prompt\":\"My $w one:\",\"completion\":\" I like $w.\"}" >>"$T/sft.jsonl"
    echo "{\"prompt\":\"My $w one:\",\"chosen\":\" I like $w.\",\"rejected\":\" I am $w $w $w.\",\"label_prob\":0.9}" >>"$T/pairs.jsonl"
done
rows() { "$rlaif" "$@" --logging_steps 1 --seed 3 --threads 1; }
lora="--use_peft --lora_r 4 --lora_alpha 8 --lora_target_modules all-linear --learning_rate 1e-2"

claim sft_writes_a_peft_folder_and_no_model
run rows sft -m "$T/new1" --dataset_name "$T/sft.jsonl" --output_dir "$T/sft" $lora --max_steps 6 --save_steps 3; exits 0
for f in adapter_config.json adapter_model.safetensors tokenizer.json trainer_state.json checkpoint-3/adapter_model.safetensors; do
    present "$T/sft/$f"
done
absent "$T/sft/model.safetensors"; absent "$T/sft/config.json"
check grep -q '"r": 4' "$T/sft/adapter_config.json"

claim a_run_that_was_stopped_ends_with_the_same_bytes
cp -r "$T/sft" "$T/again"
rm "$T/again"/adapter_model.safetensors "$T/again"/trainer_state.json
run rows sft -m "$T/new1" --dataset_name "$T/sft.jsonl" --output_dir "$T/again" $lora --max_steps 6 --save_steps 3 --resume_from_checkpoint
exits 0
for f in adapter_model.safetensors trainer_state.json; do check cmp "$T/sft/$f" "$T/again/$f"; done

claim the_folder_is_a_model_and_so_is_base_with_adapter
gen() { "$rlaif" generate "$@" --input "$T/sft.jsonl" --max_new_tokens 8 --temperature 0 --threads 1 --quiet; }
run gen -m "$T/sft" --output "$T/a.jsonl"; exits 0
run gen -m "$T/new1" --adapter "$T/sft" --output "$T/b.jsonl"; exits 0
run gen -m "$T/new1" --output "$T/c.jsonl"; exits 0
check cmp "$T/a.jsonl" "$T/b.jsonl"
run gen -m "$T/sft" --dtype float32 --output "$T/a32.jsonl"; exits 0
check grep -q 'like' "$T/a.jsonl"
cmp -s "$T/a.jsonl" "$T/c.jsonl" && kit_no "the adapter changes nothing"

claim merged_it_writes_the_same
run "$rlaif" export -m "$T/new1" --adapter "$T/sft" --output_dir "$T/merged" --dtype float32; exits 0
run "$rlaif" export -m "$T/sft" --gguf F32 --output "$T/merged.gguf"; exits 0
for m in merged merged.gguf; do
    run gen -m "$T/$m" --dtype float32 --output "$T/m.jsonl"; exits 0
    check cmp "$T/a32.jsonl" "$T/m.jsonl"
done

claim dpo_starts_at_ln2_from_base_and_from_adapter
run rows dpo -m "$T/new1" --dataset_name "$T/pairs.jsonl" --output_dir "$T/dpo" $lora --max_steps 2; exits 0
check grep -q '"loss": 0.6931472' "$T/dpo/trainer_state.json"
run rows dpo -m "$T/sft" --dataset_name "$T/pairs.jsonl" --output_dir "$T/dpo2" --max_steps 2; exits 0
check grep -q '"loss": 0.6931472' "$T/dpo2/trainer_state.json"
present "$T/dpo2/adapter_model.safetensors"

claim a_reward_adapter_keeps_its_head_and_scale
run rows reward -m "$T/new1" --dataset_name "$T/pairs.jsonl" --normalize_on "$T/sft.jsonl" --output_dir "$T/rm" $lora --max_steps 4; exits 0
check grep -q '"score"' "$T/rm/adapter_config.json"
check grep -q SEQ_CLS "$T/rm/adapter_config.json"
check grep -q reward_std "$T/rm/rlaif_adapter.json"
run "$rlaif" score -m "$T/rm" --input "$T/sft.jsonl" --output "$T/scored.jsonl"; exits 0
run rows sft -m "$T/rm" --dataset_name "$T/sft.jsonl" --output_dir "$T/z" --max_steps 1; exits 1; says "a language model is needed"

claim rl_shares_one_base_and_its_ratio_is_one
rl() { rows rl --reward_model_path "$T/rm" --dataset_name "$T/sft.jsonl" --max_steps 2 --per_device_train_batch_size 8 \
    --max_completion_length 8 "$@"; }
run rl -m "$T/new1" --output_dir "$T/rl" $lora; exits 0
check grep -q '"val/ratio": 1.0' "$T/rl/trainer_state.json"
present "$T/rl/adapter_model.safetensors"
run rl -m "$T/sft" --output_dir "$T/rl2"; exits 0
check grep -q '"val/ratio": 1.0' "$T/rl2/trainer_state.json"
check grep -q '"objective/kl": 0.0' "$T/rl2/trainer_state.json"

claim what_does_not_fit_is_said_before_work_starts
run gen -m "$T/new2" --adapter "$T/sft" --output "$T/z.jsonl"; exits 1; says "rlaif_adapter.json"; says "another base"
run gen -m "$T/new1" --adapter "$T/new2" --output "$T/z.jsonl"; exits 1; says "no folder with adapter_config.json"
run rows sft -m "$T/new1" --dataset_name "$T/sft.jsonl" --output_dir "$T/z" --use_peft --lora_target_modules c_attn; exits 1
says "no module of this model is called 'c_attn'"
run rows sft -m "$T/new1" --dataset_name "$T/sft.jsonl" --output_dir "$T/z" --use_peft --lora_dropout 0.05; exits 2; says "lora_dropout"
run rows sft -m "$T/new1" --dataset_name "$T/sft.jsonl" --output_dir "$T/sft" --max_steps 1 --overwrite_output_dir; exits 1
says "an adapter lies there"
run rows sft -m "$T/new1" --dataset_name "$T/sft.jsonl" --output_dir "$T/new2" --max_steps 1 $lora; exits 1; says "a whole model lies there"
mv "$T/new1" "$T/gone"
run gen -m "$T/sft" --output "$T/z.jsonl"; exits 1; says "base_model_name_or_path"
