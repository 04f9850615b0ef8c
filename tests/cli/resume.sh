#!/bin/bash
# Interrupts and kills: what was stopped goes on, and ends with the bytes of a run that was never disturbed.
. "$(dirname "$0")/kit.sh"
. tests/tiny.sh
if ! tiny_ready; then skip resume "models/s and models/l are not here (make lab-models)"; exit 0; fi
"$rlaif" lab --output_dir "$T/world" --sft_prompts 64 --train_prompts 4 --eval_prompts 4 --quiet >/dev/null
train() (train_exec "$@")
train_exec() { exec "$rlaif" sft -m "$lab_s" --dataset_name "$T/world/sft.jsonl" --output_dir "$1" --num_train_epochs 6 --max_steps -1 \
              --per_device_train_batch_size 4 --save_steps 5 --quiet "${@:2}"; }
# until_exists PATH PID: waits until it is there, or the process is gone.
until_exists() { for _ in $(seq 600); do [ -e "$1" ] && return; kill -0 "$2" 2>/dev/null || return; sleep 0.02; done; }

claim sigint_checkpoints_and_says_how_to_go_on
run train "$T/straight"; exits 0
train_exec "$T/stopped" >"$OUT" 2>"$ERR" & pid=$!
until_exists "$T/stopped/checkpoint-5" $pid
kill -INT $pid
wait $pid; rc=$?; kit_last="rlaif sft, then SIGINT"
exits 1; says "resume_from_checkpoint"; absent "$T/stopped/model.safetensors"
run train "$T/stopped" --resume_from_checkpoint; exits 0
same "$T/straight/model.safetensors" "$T/stopped/model.safetensors"
same "$T/straight/trainer_state.json" "$T/stopped/trainer_state.json"

bytes_of() { cat "$1" || echo "missing: $1, $RANDOM"; }
# What is promised byte for byte, of a run in $1.
bytes() {
    (cd "$1" && find . \( -name '*.safetensors' -o -name '*.jsonl' -o -name trainer_state.json \) ! -path '*/checkpoint-*' ! -name '*rejected.jsonl' |
        sort | xargs sha256sum)
}

claim a_small_recipe_runs_and_is_fresh_afterwards
run tiny "$T/a"; exits 0; present "$T/a/summary.json"; present "$T/a/report.html"; present "$T/a/manifest.json"
bytes "$T/a" >"$T/want"
check [ "$(wc -l <"$T/want")" -ge 8 ]
run "$rlaif" run "$lab_recipe" --set "${tiny_sets[@]}" --output_dir "$T/a"; exits 0
check [ "$(grep -c ': fresh' "$ERR")" = "$(ls "$T/a/stages" | wc -l)" ]
bytes "$T/a" | cmp -s - "$T/want" || kit_no "running it again changed the bytes"

claim a_killed_run_ends_with_the_same_bytes
for stage in sft label reward rl; do
    tiny_exec "$T/b" >"$OUT" 2>"$ERR" & pid=$!
    until_exists "$T/b/stages/$stage.json" $pid
    sleep 0.1
    kill -9 $pid
    wait $pid 2>/dev/null
    check [ $? = 137 ]
done
run tiny "$T/b"; exits 0
bytes "$T/b" >"$T/have"
cmp -s "$T/want" "$T/have" || { kit_no "other bytes after kills"; diff "$T/want" "$T/have" | head; }

claim an_interrupted_run_says_how_to_go_on
tiny_exec "$T/d" --set rl.max_steps=2000 >"$OUT" 2>"$ERR" & pid=$!
until_exists "$T/d/rl/checkpoint-1" $pid
kill -INT $pid
wait $pid; rc=$?; kit_last="rlaif run, then SIGINT"
exits 1; says "stage 'rl'"; says "rlaif run"; says "again"
check grep -q '"status": "running"' "$T/d/stages/rl.json"

claim training_never_reads_the_truth
cp -r "$T/a/world" "$T/blind"; rm "$T/blind/truth.jsonl"
awk -v world="$T/blind" '/^  [a-z_]+:/ { off = /^  (world|eval):/ } /^summary:/ { exit }
     !off { gsub(/\$\{out\}\/world/, world); print }' "$lab_recipe" >"$T/blind.yaml"
blind=(); for s in "${tiny_sets[@]}"; do case $s in world.*) ;; *) blind+=("$s") ;; esac; done
run "$rlaif" run "$T/blind.yaml" --set "${blind[@]}" --output_dir "$T/c"; exits 0
for f in sft/model.safetensors reward/model.safetensors rl/model.safetensors labels/pairs.jsonl candidates.jsonl; do
    cmp -s <(bytes_of "$T/a/$f") <(bytes_of "$T/c/$f") || kit_no "$f differs without the truth"
done

claim what_changed_runs_again_and_nothing_before_it
run "$rlaif" run "$lab_recipe" --set "${tiny_sets[@]}" rl.max_steps=3 --output_dir "$T/a"; exits 0
check grep -q '\] reward: fresh' "$ERR"
check grep -q '\] rl: rl' "$ERR"
