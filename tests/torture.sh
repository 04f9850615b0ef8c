#!/bin/bash
# torture.sh RLAIF - what happens when the world is unkind.
#
# Part 1: a small recipe is run once undisturbed, then again and again with `kill -9` after a random while
# until KILLS (20) kills were survived; each time it reaches the end, models, exported records and figures must be those
# of the undisturbed run, byte for byte.
# Part 2: in a few commands the N-th allocation fails, for many N: exit code 1 with a sentence, no crash, nothing
# half-written.
#
#     KILLS=20 SEED=1 tests/torture.sh build/rlaif [kills|memory]
set -u
cd "$(dirname "$0")/.."
rlaif=$1 part=${2:-all}
kills=${KILLS:-20}
RANDOM=${SEED:-1}
T=$(mktemp -d "${TMPDIR:-/tmp}/rlaif-torture-XXXXXX")
trap 'rm -rf "$T"' EXIT
bad=0
no() { echo "not ok: $*"; bad=1; }

. tests/tiny.sh
tiny_ready || { echo "torture: models/s and models/l are needed (make lab-models)" >&2; exit 1; }
run_recipe() { tiny "$1" >"$T/log" 2>&1; }

# Everything that is promised byte for byte; times and the database file are not.
fingerprint() {
    (cd "$1" && find . -type f \( -name '*.safetensors' -o -name '*.jsonl' -o -name 'config.json' -o -name 'tokenizer*.json' \
        -o -name 'trainer_state.json' \) ! -path '*/checkpoint-*' ! -name '*rejected.jsonl' | sort | xargs sha256sum)
    # figures, less those of time and memory
    awk '/^  "(seconds|memory|machine)": \{/ { skip = 1 } !skip && !/"(output_dir|version)"|per_second/ { print }
         /^  }/ { skip = 0 }' "$1/summary.json"
}

now() { date +%s%N; }

survive_kills() {
    echo "== undisturbed"
    local start done=0 attempts=0 runs=0 out pid wait
    start=$(now)
    run_recipe "$T/straight" || { tail -5 "$T/log"; no "the recipe does not run at all"; return; }
    local ms=$((($(now) - start) / 1000000))
    fingerprint "$T/straight" >"$T/want"
    echo "   $ms ms, $(grep -c ' ' "$T/want") fingerprints"
    while [ $done -lt "$kills" ]; do
        runs=$((runs + 1)); out=$T/killed-$runs
        echo "== with kills, run $runs"
        while :; do
            attempts=$((attempts + 1))
            [ $attempts -gt $((kills * 20)) ] && { no "no progress between kills"; return; }
            tiny_exec "$out" >"$T/log" 2>&1 & pid=$!
            # between a twentieth and two thirds of a whole run
            wait=$((ms / 20 + (RANDOM * 32768 + RANDOM) % (ms * 3 / 5 + 1)))
            ( sleep "$(printf '%d.%03d' $((wait / 1000)) $((wait % 1000)))"; kill -9 "$pid" 2>/dev/null ) & local killer=$!
            wait "$pid" 2>/dev/null; local rc=$?
            kill "$killer" 2>/dev/null; wait "$killer" 2>/dev/null
            case $rc in
            0) break ;;
            137) done=$((done + 1)); echo "   kill $done after $wait ms, in: $(running "$out")" ;;
            *) tail -5 "$T/log"; no "exit code $rc after $done kills"; return ;;
            esac
        done
        fingerprint "$out" >"$T/have"
        if cmp -s "$T/want" "$T/have"; then
            echo "   reached the end with the same bytes ($done kills so far)"
        else
            no "run $runs ended with other bytes:"; diff "$T/want" "$T/have" | head -20
        fi
        rm -rf "$out"
    done
}

running() {
    local f
    for f in "$1"/stages/*.json; do
        grep -qs '"status": "running"' "$f" && basename "$f" .json
    done | tr '\n' ' '
}

# memory NAME OUTPUT COMMAND...: OUTPUT must be absent, or what an undisturbed run writes.
memory() {
    local name=$1 output=$2 n=1 fine=0 failed=0 rc before=$bad
    shift 2
    rm -rf "$T/want" && mkdir "$T/want"
    (cd "$T/want" && "$@") >"$T/out" 2>"$T/err" </dev/null || { no "$name: does not run at all: $(tail -1 "$T/err")"; return; }
    while [ $fine -lt 4 ] && [ $n -lt 3000000 ]; do
        rm -rf "$T/m" && mkdir "$T/m"
        (cd "$T/m" && RLAIF_FAIL_AT=$n timeout 120 "$@") >"$T/out" 2>"$T/err" </dev/null
        rc=$?
        if [ $rc = 0 ]; then
            fine=$((fine + 1))
        elif [ $rc = 1 ]; then
            fine=0 failed=$((failed + 1))
            grep -q '^rlaif: ..........' "$T/err" || no "$name: allocation $n failed without a sentence: $(tail -1 "$T/err")"
        else
            no "$name: exit code $rc when allocation $n fails"; tail -3 "$T/err"
        fi
        [ ! -e "$T/m/$output" ] || cmp -s "$T/m/$output" "$T/want/$output" || no "$name: allocation $n failed and left half of $output"
        # Only mem_die() goes without tidying up.
        grep -q '^rlaif: out of memory' "$T/err" || ! find "$T/m" -name '*.partial' | grep -q . ||
            no "$name: allocation $n failed and left $(cd "$T/m"; find . -name '*.partial' | head -1)"
        n=$((n < 40 ? n + 1 : n + n / 8))
    done
    [ $bad = "$before" ] && echo "   $name: $failed failures, each with its sentence (up to allocation $n)"
}

fail_memory() {
    local model=$T/model root=$PWD program
    program=$(realpath "$rlaif")
    echo "== allocations that fail"
    tiny "$T/base" >"$T/log" 2>&1 || { tail -5 "$T/log"; no "no model to work with"; return; }
    cp -r "$T/base/sft" "$model"
    head -4 "$T/base/world/prompts.jsonl" >"$T/prompts.jsonl"
    head -4 "$T/base/world/sft.jsonl" >"$T/sft.jsonl"
    head -3 "$T/base/world/eval.jsonl" >"$T/eval.jsonl"
    head -3 "$T/base/candidates.jsonl" >"$T/candidates.jsonl"
    head -4 "$T/base/labels/pairs.jsonl" >"$T/pairs.jsonl"
    memory inspect none "$program" inspect "$model"
    memory tokenize none "$program" tokenize -m "$model" --input "$T/prompts.jsonl"
    memory lab world/truth.jsonl "$program" lab --world tldr --output_dir world --sft_prompts 3 --train_prompts 3 --eval_prompts 2
    memory generate out.jsonl "$program" generate -m "$model" --input "$T/prompts.jsonl" --output out.jsonl --max_new_tokens 4
    memory logprobs out.jsonl "$program" logprobs -m "$model" --input "$T/sft.jsonl" --output out.jsonl
    memory label labels/pairs.jsonl "$program" label --labeler "$model" --input "$T/candidates.jsonl" --output_dir labels --preamble lab
    memory sft out/model.safetensors "$program" sft -m "$model" --dataset_name "$T/sft.jsonl" --output_dir out --max_steps 1
    memory reward out/model.safetensors "$program" reward -m "$model" --dataset_name "$T/pairs.jsonl" --output_dir out --max_steps 1
    memory dpo out/model.safetensors "$program" dpo -m "$model" --dataset_name "$T/pairs.jsonl" --output_dir out --max_steps 1
    memory rl out/model.safetensors "$program" rl -m "$model" --reward_model_path "$T/base/reward" --dataset_name "$T/prompts.jsonl" \
        --output_dir out --max_steps 1 --per_device_train_batch_size 4 --max_completion_length 8
    memory score out.jsonl "$program" score -m "$T/base/reward" --input "$T/sft.jsonl" --output out.jsonl
    memory eval none "$program" eval --reward_model "$T/base/reward" --policy "$T/base/rl" --baseline "$model" --truth "$T/base/world/truth.jsonl" \
        --prompts "$T/eval.jsonl" --output_dir out --max_new_tokens 8
}

[ "$part" = memory ] || survive_kills
[ "$part" = kills ] || fail_memory
if [ $bad = 0 ]; then echo "torture: survived"; else echo "torture: see above"; fi
exit $bad
