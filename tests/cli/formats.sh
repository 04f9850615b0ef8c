#!/bin/bash
# Every stage makes of Parquet, CSV and several files what it makes of the same rows in JSON Lines.
. "$(dirname "$0")/kit.sh"
export RLAIF_THREADS=1
tiny=tests/vectors/gguf/tiny.gguf data=tests/vectors/data/stages

# both COMMAND INPUT EXTENSION OUTPUT [FLAG...]: with INPUT.jsonl and INPUT.EXTENSION; OUTPUT of both is the same
both() {
    local command=$1 input=$2 extension=$3 output=$4 e flag=--input
    shift 4
    case $command in sft|reward|dpo) flag=--dataset_name ;; esac
    rm -rf "$T/x" "$T/y"
    for e in jsonl "$extension"; do
        mkdir -p "$T/x"
        case $command in
        generate|logprobs|score) run "$rlaif" $command -m $tiny $flag "$data/$input.$e" --output "$T/x/$output" "$@" ;;
        label|split) run "$rlaif" $command $flag "$data/$input.$e" --output_dir "$T/x" "$@" ;;
        *) run "$rlaif" $command -m $tiny $flag "$data/$input.$e" --output_dir "$T/x" --max_steps 1 "$@" ;;
        esac
        exits 0; present "$T/x/$output"
        [ $e = jsonl ] && mv "$T/x" "$T/y"
    done
    same "$T/x/$output" "$T/y/$output"
}

claim prompts_are_prompts_in_any_format
for e in parquet csv; do both generate prompts $e out.jsonl --max_new_tokens 4 --temperature 0; done

claim texts_are_learned_from_in_any_format
for e in parquet csv; do
    both sft sft $e model.safetensors
    both sft text $e model.safetensors
    both logprobs sft $e out.jsonl
done

claim pairs_are_compared_in_any_format
ask="--labeler $tiny --task harmless --wording harmless --preamble better --min_label_mass 0"
both label candidates parquet pairs.jsonl $ask
for e in parquet csv; do
    both label pairs $e pairs.jsonl $ask
    both split hh $e train.jsonl --parts train=0.7,test=0.3
    both reward pairs $e model.safetensors
    both dpo pairs $e model.safetensors
done

claim shards_are_one_data_set
run "$rlaif" inspect "$data/[st]*t.parquet" --json; exits 0; prints '"rows": 24'; prints '"SNAPPY"'
run "$rlaif" inspect "$data/sft.csv,$data/sft.parquet" --json; exits 0; prints '"rows": 24'

claim a_damaged_table_is_named_with_its_place
run "$rlaif" sft -m $tiny --dataset_name tests/vectors/data/bad/index.parquet --output_dir "$T/bad"
exits 1; says "index.parquet: row group 0, column 'n'"; absent "$T/bad/model.safetensors"
printf 'prompt,completion\na,b\nc\n' >"$T/w.csv"
run "$rlaif" sft -m $tiny --dataset_name "$T/w.csv" --output_dir "$T/w" --max_steps 1
exits 0; says "line 3: 1 fields, expected 2"; check grep -q '"line": 3' "$T/w/rejected.jsonl"
