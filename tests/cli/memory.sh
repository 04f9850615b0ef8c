#!/bin/bash
# Memory as planned beforehand against the peak measured afterwards; --memory; what does not fit.
. "$(dirname "$0")/kit.sh"
words="the cat and a dog run far away from home then come back to eat some food with friends in the garden by the river"
some() { shuf -r -n "$1" -e $words --random-source=<(yes "$2") | paste -sd' '; }
for i in $(seq 32); do
    echo "{\"prompt\":\"$(some 30 "p$i")\",\"completion\":\" $(some $((40 + 3 * i)) "c$i")\"}" >>"$T/sft.jsonl"
    echo "{\"prompt\":\"$(some 30 "p$i")\",\"chosen\":\" $(some 50 "a$i")\",\"rejected\":\" $(some 40 "b$i")\"}" >>"$T/pairs.jsonl"
done
m=$T/m
"$rlaif" lab --make newborn --output_dir "$m" --width 192 --layers 6 --heads 6 --kv_heads 2 --ffn 512 --vocab_size 1024 \
    --documents 200 --quiet >/dev/null
figure() { sed -n "s/.*\"$1\": \([0-9.e+]*\).*/\1/p" "$OUT"; }
figure_of_plan() { "$rlaif" plan "$@" --json 2>/dev/null | awk -F'[:,]' '/"total_mb"/ { printf "%d", $2 * 1e6 / 1024 }'; }
# The plan said before is that of `rlaif plan`, and the peak is near it.
near() {
    local planned peak
    exits 0
    planned=$(figure memory_planned_mb) peak=$(figure memory_peak_mb)
    check awk -v a="${planned:-0}" -v b="${peak:-0}" 'BEGIN { if (a >= 0.9 * b && a <= 1.1 * b && b > 0) exit 0;
        print "planned " a " MB, peak " b " MB"; exit 1 }'
}

claim a_full_training_takes_what_was_planned
run "$rlaif" sft -m "$m" --dataset_name "$T/sft.jsonl" --output_dir "$T/1" --max_steps 2 --per_device_train_batch_size 16 --json; near
planned=$(figure memory_planned_mb)
run "$rlaif" plan sft -m "$m" --dataset_name "$T/sft.jsonl" --per_device_train_batch_size 16 --json; exits 0
check awk -v a="$(figure total_mb)" -v b="$planned" 'BEGIN { exit !(a > 0.98 * b && a < 1.02 * b) }'
prints activations_8x512_mb

claim one_with_8_bits_and_layers_computed_again_too
run "$rlaif" sft -m "$m" --dataset_name "$T/sft.jsonl" --output_dir "$T/2" --max_steps 2 --per_device_train_batch_size 16 \
    --optim adamw_8bit --gradient_checkpointing --json; near

claim a_reward_model_too
run "$rlaif" reward -m "$m" --dataset_name "$T/pairs.jsonl" --normalize_on "$T/sft.jsonl" --output_dir "$T/rm" --max_steps 2 --json; near

claim reinforcement_learning_too
run "$rlaif" rl -m "$m" --reward_model_path "$T/rm" --dataset_name "$T/sft.jsonl" --output_dir "$T/rl" --max_steps 2 \
    --per_device_train_batch_size 32 --max_completion_length 96 --json; near

claim generation_and_scoring_too
run "$rlaif" generate -m "$m" --input "$T/sft.jsonl" --output "$T/g.jsonl" --num_return_sequences 4 --max_new_tokens 32 --json; near
run "$rlaif" score -m "$T/rm" --input "$T/sft.jsonl" --output "$T/s.jsonl" --json; near

claim labelling_and_log_probs_too
run "$rlaif" label --labeler "$m" --input "$T/pairs.jsonl" --output_dir "$T/l" --min_label_mass 0 --json; near
run "$rlaif" logprobs -m "$m" --input "$T/sft.jsonl" --output "$T/lp.jsonl" --json; near
run "$rlaif" plan label --labeler "$m" --input "$T/pairs.jsonl"; exits 0; prints caches; prints "batch tokens"

smollm2=models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
if [ -f $smollm2 ]; then
    claim a_real_model_too
    run "$rlaif" generate -m $smollm2 --input "$T/sft.jsonl" --max_prompts 4 --max_new_tokens 4 --output "$T/g.jsonl" --json; near
else
    skip a_real_model_too "$smollm2 is not here (make smollm2)"
fi

claim memory_chooses_what_fits
all=$(awk -v a="$planned" 'BEGIN { printf "%d", a * 0.8 * 1e6 / 1048576 }')
run "$rlaif" sft -m "$m" --dataset_name "$T/sft.jsonl" --output_dir "$T/3" --max_steps 2 --per_device_train_batch_size 16 \
    --memory "${all}M" --json; near
check awk -v a="$(figure memory_peak_mb)" -v b="$all" 'BEGIN { exit !(a <= 1.05 * b * 1.048576) }'

claim it_chooses_cache_and_portions_where_a_model_is_only_used
all=$(( $(figure_of_plan generate -m "$m" --input "$T/sft.jsonl" --max_new_tokens 64) * 7 / 10 ))
run "$rlaif" generate -m "$m" --input "$T/sft.jsonl" --output "$T/g1.jsonl" --max_new_tokens 64 --json; exits 0
run "$rlaif" generate -m "$m" --input "$T/sft.jsonl" --output "$T/g2.jsonl" --max_new_tokens 64 --memory "${all}K" --json; near
check awk -v a="$(figure memory_peak_mb)" -v b="$all" 'BEGIN { exit !(a <= 1.05 * b * 0.001024) }'
same "$T/g1.jsonl" "$T/g2.jsonl"
all=$(( $(figure_of_plan label --labeler "$m" --input "$T/pairs.jsonl") * 8 / 10 ))
run "$rlaif" label --labeler "$m" --input "$T/pairs.jsonl" --output_dir "$T/l2" --min_label_mass 0 --memory "${all}K" --json; near
check awk -v a="$(figure memory_peak_mb)" -v b="$all" 'BEGIN { exit !(a <= 1.05 * b * 0.001024) }'
same "$T/l/labels.jsonl" "$T/l2/labels.jsonl"
run "$rlaif" label --labeler "$m" --input "$T/pairs.jsonl" --output_dir "$T/l3" --memory 20M; exits 1
says "--memory: labelling one pair takes"; says "MB are weights"; absent "$T/l3"
run "$rlaif" score -m "$T/rm" --input "$T/sft.jsonl" --output "$T/s3.jsonl" --memory 20M; exits 1; says "--memory: the longest text takes"

claim too_little_for_one_sequence_is_refused_before_work_starts
run "$rlaif" sft -m "$m" --dataset_name "$T/sft.jsonl" --output_dir "$T/4" --max_steps 2 --memory 30M; exits 1
says "--memory: training on one item of"
says "--optim adamw_8bit brings it to"
absent "$T/4"
run "$rlaif" sft -m "$m" --dataset_name "$T/sft.jsonl" --output_dir "$T/4" --memory 8Q; exits 2; says "--memory is '8Q'"
run "$rlaif" plan lab; exits 2; says "is not planned"
