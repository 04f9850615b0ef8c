#!/bin/bash
# The training commands as typed: a new model, supervised training, reward model, DPO, reinforcement.
. "$(dirname "$0")/kit.sh"
"$rlaif" lab --make newborn --output_dir "$T/new" --width 32 --layers 1 --heads 1 --kv_heads 1 --ffn 64 --vocab_size 512 \
    --documents 100 --quiet >/dev/null
for w in red blue green pink gold; do
    echo "{\"prompt\":\"My $w one:\",\"completion\":\" I like $w.\"}" >>"$T/sft.jsonl"
    echo "{\"prompt\":\"My $w one:\",\"chosen\":\" I like $w.\",\"rejected\":\" I am $w $w $w.\",\"label_prob\":0.9}" >>"$T/pairs.jsonl"
done
rows() { "$rlaif" "$@" --logging_steps 1 --seed 3 --threads 1; }

claim sft_writes_what_a_trainer_writes
run rows sft -m "$T/new" --dataset_name "$T/sft.jsonl" --output_dir "$T/sft" --learning_rate 3e-3 --max_steps 6 \
    --save_steps 2 --save_total_limit 1; exits 0; prints train_loss
for f in model.safetensors config.json tokenizer.json trainer_state.json train_results.json checkpoint-4/optimizer.safetensors; do
    present "$T/sft/$f"
done
absent "$T/sft/checkpoint-2"
check grep -q '"mean_token_accuracy"' "$T/sft/trainer_state.json"

claim init_needs_no_weights
mkdir "$T/bare" && cp "$T/new"/{config,tokenizer,tokenizer_config}.json "$T/bare/"
run rows sft -m "$T/bare" --dataset_name "$T/sft.jsonl" --output_dir "$T/x" --max_steps 1; exits 1; says "$T/bare"
run rows sft -m "$T/bare" --init --dataset_name "$T/sft.jsonl" --output_dir "$T/x" --max_steps 1; exits 0

claim json_result_is_all_that_stdout_holds
run rows sft -m "$T/sft" --dataset_name "$T/sft.jsonl" --output_dir "$T/y" --max_steps 1 --json; exits 0
case $(head -c 1 "$OUT") in '{') ;; *) kit_no "stdout does not begin with an object" ;; esac

claim reward_learns_and_is_normalised
run rows reward -m "$T/sft" --dataset_name "$T/pairs.jsonl" --eval_dataset_name "$T/pairs.jsonl" --normalize_on "$T/sft.jsonl" \
    --output_dir "$T/rm" --learning_rate 3e-3 --max_steps 4; exits 0; prints reward_std; prints eval_accuracy
check grep -q LlamaForSequenceClassification "$T/rm/config.json"

claim dpo_starts_at_ln2
run rows dpo -m "$T/sft" --dataset_name "$T/pairs.jsonl" --output_dir "$T/dpo" --max_steps 2; exits 0
check grep -q '"loss": 0.6931472' "$T/dpo/trainer_state.json"

claim rl_ratio_is_one
run rows rl -m "$T/sft" --reward_model_path "$T/rm" --dataset_name "$T/sft.jsonl" --output_dir "$T/rl" --max_steps 2 \
    --per_device_train_batch_size 8 --max_completion_length 8 --log_completions; exits 0
check grep -q '"val/ratio": 1.0' "$T/rl/trainer_state.json"
present "$T/rl/completions/step-000002.jsonl"

claim a_reward_model_is_no_policy
run rows sft -m "$T/rm" --dataset_name "$T/sft.jsonl" --output_dir "$T/z" --max_steps 1; exits 1; says "reward or value model"
run rows rl -m "$T/sft" --reward_model_path "$T/sft" --dataset_name "$T/sft.jsonl" --output_dir "$T/z" --max_steps 1; exits 1
says "it is no reward model"

claim options_are_checked_before_work
run rows rl -m "$T/sft" --reward_model_path "$T/rm" --dataset_name "$T/sft.jsonl" --output_dir "$T/z" \
    --per_device_train_batch_size 6; exits 1; says "num_generations"
run rows sft -m "$T/sft" --dataset_name "$T/sft.jsonl" --output_dir "$T/z" --learning_rat 1; exits 2; says "learning_rate"
run rows sft -m "$T/sft" --dataset_name "$T/sft.jsonl" --output_dir "$T/z" --save_steps -1; exits 2; says "save_steps"

claim all_rows_too_long_is_an_error
run rows sft -m "$T/sft" --dataset_name "$T/sft.jsonl" --output_dir "$T/z" --max_length 3; exits 1; says "max_length 3"
