#!/bin/bash
# fuzz.sh BUILD [N] - N (100) mutated files for each parser, read by a program built under the sanitizers in BUILD.
# A file may be refused (exit code 1, one sentence) or accepted; a crash, a sanitizer's report, a hang or a gigabyte of memory
# for a file of kilobytes is a finding.  Findings are kept in BUILD/fuzz/.
#
#     SEED=1 tests/fuzz.sh build-san-address-undefined 500 [target...]
set -u
cd "$(dirname "$0")/.."
build=$1 n=${2:-100} seed=${SEED:-1}
shift; [ $# -gt 0 ] && shift
targets=${*:-config family tokenizer tokenizer_kinds sentencepiece tokenizer_config safetensors adapter shards gguf jsonl layout store json csv parquet yaml protocol hub endpoint template hybrid}
rlaif=$(realpath "$build/rlaif")
keep=$build/fuzz
T=$(mktemp -d "${TMPDIR:-/tmp}/rlaif-fuzz-XXXXXX")
hub_pid= judge_pid=
trap '[ -n "$hub_pid$judge_pid" ] && kill $hub_pid $judge_pid; rm -rf "$T"' EXIT
export ASAN_OPTIONS=allocator_may_return_null=1:hard_rss_limit_mb=2000:detect_leaks=1:exitcode=99
export UBSAN_OPTIONS=print_stacktrace=1:exitcode=99 RLAIF_THREADS=1
export HF_HUB_OFFLINE=1
mkdir -p "$keep"
findings=0 refused=0 accepted=0

# try NAME FILE COMMAND...
try() {
    local name=$1 file=$2 rc
    shift 2
    timeout -s KILL 20 "$@" >"$T/out" 2>"$T/err" <"$T/stdin"
    rc=$?
    if [ $rc -eq 0 ]; then
        accepted=$((accepted + 1))
    elif { [ $rc -eq 1 ] || [ $rc -eq 2 ]; } && [ -s "$T/err" ] && ! grep -qE 'Sanitizer|runtime error' "$T/err"; then
        refused=$((refused + 1))
    else
        findings=$((findings + 1))
        cp "$file" "$keep/$name"; { echo "exit code $rc: $*"; cat "$T/err"; } >"$keep/$name.txt"
        echo "finding: $keep/$name (exit code $rc): $(grep -m1 -E 'Sanitizer|runtime error|BUG' "$T/err")"
    fi
}

printf 'some text to read\n' >"$T/stdin"
. tests/tiny.sh
tiny "$T/tiny" >"$T/log" 2>&1 || { tail -5 "$T/log"; exit 1; }
model=$T/tiny/sft
types=(Q8_0 IQ4_NL Q2_K Q3_K Q4_K Q5_K Q6_K IQ4_XS)
for t in "${types[@]}"; do "$build/mkgguf" "$T/$t.gguf" "$t" || exit 1; done
"$rlaif" export -m "$model" --dtype bfloat16 --output_dir "$T/shards" --max_shard_size 50KB --quiet >/dev/null || exit 1
head -1 "$T/tiny/world/sft.jsonl" >"$T/one.jsonl"
echo '{"prompt":"POST: a text","chosen":"one","rejected":"two"}' >"$T/pair.jsonl"

# A Hub with the small model, and its listing and index to mutate.
fuzz_hub() {
    commit=0123456789abcdef0123456789abcdef01234567
    local m=$T/hub/repos/models/lab/s
    mkdir -p "$m/$commit" "$m/refs"
    cp "$model"/*.json "$m/$commit/"
    head -c 3000 "$model/model.safetensors" >"$m/$commit/part.safetensors"
    echo '{"metadata": {}, "weight_map": {"a": "part.safetensors", "b": "part.safetensors"}}' >"$m/$commit/model.safetensors.index.json"
    printf %s $commit >"$m/refs/main"
    : >"$T/hub/faults"
    "$build/tests/hub" "$T/hub" & hub_pid=$!
    while [ ! -s "$T/hub/ports" ]; do sleep 0.1; done
    endpoint=http://127.0.0.1:$(cut -d' ' -f1 "$T/hub/ports")
    HF_HUB_OFFLINE=0 HF_ENDPOINT=$endpoint HF_HOME=$T/hf "$rlaif" pull lab/s --quiet >/dev/null || exit 1
    echo "999999 /tree/ body" >"$T/hub/faults"
    cached=$T/hf/hub/models--lab--s
    printf '[{"type":"file","oid":"0967ef424bce6791893e9a57bb952f80fd536e93","size":3,"path":"config.json"},{"type":"directory","path":"a"},' >"$T/tree.json"
    printf '{"type":"file","oid":"0967ef424bce6791893e9a57bb952f80fd536e93","size":134,"path":"a/b.safetensors","lfs":{"oid":"%s","size":3,"pointerSize":134}}]' \
        "$(printf '{}\n' | sha256sum | cut -c1-64)" >>"$T/tree.json"
    cp "$cached/trees/$commit.json" "$T/trees.json"
    printf -- '---\nconfigs:\n- config_name: a\n  data_files:\n  - split: train\n    path: "d/train-*"\n  - split: test\n    path: [x.jsonl, "y*"]\n- config_name: b\n  data_dir: d\n---\n' >"$T/card.md"
    data=$T/hf/hub/datasets--lab--rows
    mkdir -p "$data/refs" "$data/trees" "$data/snapshots/$commit/d"
    printf %s $commit >"$data/refs/main"
    echo '{"n": 1}' >"$data/snapshots/$commit/d/train-0.jsonl"
}

# A scripted server, and replies of all shapes to the questions about two pairs.
fuzz_endpoint() {
    mkdir -p "$T/judge"; echo "kind openai" >"$T/judge/setup"; : >"$T/judge/faults"
    "$build/tests/judge" "$T/judge" & judge_pid=$!
    while [ ! -s "$T/judge/port" ]; do sleep 0.1; done
    export no_proxy=127.0.0.1
    judge=http://127.0.0.1:$(cat "$T/judge/port")/v1
    for k in 1 2 3; do echo "{\"prompt\":\"post $k\",\"completions\":[\"a $k\",\"b $k\"]}"; done >"$T/endpoint.jsonl"
    "$rlaif" label --labeler "$judge" --task summary --input "$T/endpoint.jsonl" --output_dir "$T/batch" --batch_file "$T/questions.jsonl" \
        --quiet >/dev/null 2>&1
    local shapes=(
        '{"choices":[{"message":{"content":"1","reasoning_content":"so"},"logprobs":{"content":[{"token":"1","top_logprobs":[{"token":"1","logprob":-0.2},{"token":" 2","logprob":-1.8}]}]}}],"usage":{"prompt_tokens":9,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":4}}}'
        '{"choices":[{"text":"<think>a</think>2","logprobs":{"top_logprobs":[{"1":-0.5,"2":-1.5}]}}]}'
        '{"content":"1","completion_probabilities":[{"token":"1","top_logprobs":[{"token":"1","logprob":-0.1}]}],"tokens_evaluated":7,"timings":{"cache_n":3}}'
        '{"choices":[{"message":{"content":null,"refusal":"no"},"finish_reason":"content_filter"}]}')
    local n=0
    grep -o '^{"custom_id": "[0-9a-f]*"' "$T/questions.jsonl" | while read -r id; do
        echo "$id, \"response\": {\"status_code\": 200, \"body\": ${shapes[$((n % 4))]}}, \"error\": null}"; n=$((n + 1))
    done >"$T/replies.jsonl"
}

sed -n 's/^{"name": "[^"]*", \(.*}\),*$/{\1/p' tests/vectors/template/conversations.json >"$T/talks.jsonl"
for target in $targets; do
    found=$findings; refused=0 accepted=0
    for i in $(seq "$n"); do
        s=$((seed * 1000003 + i)); name=$target-$s
        case $target in
        config|tokenizer|tokenizer_config|safetensors)
            file=$target.json; [ $target = safetensors ] && file=model.safetensors
            [ -d "$T/model" ] || cp -r "$model" "$T/model"
            cp "$model"/*.* "$T/model/"
            "$build/mutate" $s "$model/$file" "$T/model/$file" || exit 1
            case $((i % 3)) in
            0) try $name "$T/model/$file" "$rlaif" inspect "$T/model" ;;
            1) try $name "$T/model/$file" "$rlaif" tokenize -m "$T/model" ;;
            2) try $name "$T/model/$file" "$rlaif" logprobs -m "$T/model" --input "$T/one.jsonl" --output "$T/lp.jsonl" ;;
            esac ;;
        adapter)
            [ -d "$T/adapter" ] || "$rlaif" sft -m "$model" --use_peft --dataset_name "$T/one.jsonl" --output_dir "$T/adapter" --max_steps 1 \
                --lora_modules_to_save norm --quiet >/dev/null || exit 1
            files=(adapter_config.json adapter_model.safetensors rlaif_adapter.json) file=${files[$((i % 3))]}
            cp -r "$T/adapter" "$T/bent"
            "$build/mutate" $s "$T/adapter/$file" "$T/bent/$file" || exit 1
            if [ $((i % 2)) = 0 ]; then
                try $name "$T/bent/$file" "$rlaif" logprobs -m "$model" --adapter "$T/bent" --input "$T/one.jsonl" --output "$T/lp.jsonl"
            else
                try $name "$T/bent/$file" "$rlaif" export -m "$T/bent" --output_dir "$T/merged"
            fi
            rm -rf "$T/bent" ;;
        family)
            # the config of each family's vector in turn, beside its tensors
            all=(tests/vectors/families/*/) from=${all[$((i % ${#all[@]}))]}
            mkdir -p "$T/family"
            cp "$from"/*.* tests/vectors/families/tokenizer.json "$T/family/"
            "$build/mutate" $s "$from/config.json" "$T/family/config.json" || exit 1
            case $((i % 2)) in
            0) try $name "$T/family/config.json" "$rlaif" inspect "$T/family" ;;
            1) try $name "$T/family/config.json" "$rlaif" logprobs -m "$T/family" --input "$T/one.jsonl" --output "$T/lp.jsonl" ;;
            esac ;;
        tokenizer_kinds)
            # every kind of tokenizer.json in turn
            kinds=(tests/vectors/tokenizer/*/tokenizer.json)
            mkdir -p "$T/kind"
            "$build/mutate" $s "${kinds[i % ${#kinds[@]}]}" "$T/kind/tokenizer.json" || exit 1
            if [ $((i % 2)) = 0 ]; then
                try $name "$T/kind/tokenizer.json" "$rlaif" tokenize -m "$T/kind" --input README.md
            else
                seq 0 400 | sed 's/.*/[&, 3, 7]/' >"$T/ids"
                try $name "$T/kind/tokenizer.json" "$rlaif" tokenize -m "$T/kind" --decode --strings --input "$T/ids"
            fi ;;
        sentencepiece)
            models=(tests/vectors/tokenizer/spm_*/tokenizer.model tests/vectors/tokenizer/spm_bpe.gguf)
            m=${models[i % ${#models[@]}]}
            "$build/mutate" $s "$m" "$T/t.${m##*.}" || exit 1
            try $name "$T/t.${m##*.}" "$rlaif" tokenize -m "$T/t.${m##*.}" --input README.md ;;
        shards)
            rm -rf "$T/cut"; cp -r "$T/shards" "$T/cut"
            file=model.safetensors.index.json; [ $((i % 4)) = 3 ] && file=$(cd "$T/shards" && ls model-00002-of-*)
            "$build/mutate" $s "$T/shards/$file" "$T/cut/$file" || exit 1
            case $((i % 2)) in
            0) try $name "$T/cut/$file" "$rlaif" inspect "$T/cut" ;;
            1) try $name "$T/cut/$file" "$rlaif" export -m "$T/cut" --gguf Q4_K_M --output "$T/x.gguf" ;;
            esac ;;
        gguf)
            "$build/mutate" $s "$T/${types[$((i / 4 % 8))]}.gguf" "$T/m.gguf" || exit 1
            case $((i % 4)) in
            3) try $name "$T/m.gguf" "$rlaif" export -m "$T/m.gguf" --gguf Q8_0 --output "$T/x.gguf" ;;
            0) try $name "$T/m.gguf" "$rlaif" inspect "$T/m.gguf" ;;
            1) try $name "$T/m.gguf" "$rlaif" tokenize -m "$T/m.gguf" ;;
            2) try $name "$T/m.gguf" "$rlaif" logprobs -m "$T/m.gguf" --input "$T/one.jsonl" --output "$T/lp.jsonl" ;;
            esac ;;
        jsonl)
            "$build/mutate" $s "$T/tiny/labels/pairs.jsonl" "$T/m.jsonl" || exit 1
            case $((i % 3)) in
            0) try $name "$T/m.jsonl" "$rlaif" inspect "$T/m.jsonl" ;;
            1) try $name "$T/m.jsonl" "$rlaif" reward -m "$model" --dataset_name "$T/m.jsonl" --output_dir "$T/rm" --max_steps 1 \
                   --overwrite_output_dir ;;
            2) "$build/mutate" $s "$T/tiny/world/sft.jsonl" "$T/m.jsonl"
               try $name "$T/m.jsonl" "$rlaif" sft -m "$model" --dataset_name "$T/m.jsonl" --output_dir "$T/sft" --max_steps 1 \
                   --overwrite_output_dir ;;
            esac ;;
        hybrid)
            case $((i % 3)) in
            0) "$build/mutate" $s examples/checked.jsonl "$T/m.jsonl"
               try $name "$T/m.jsonl" "$rlaif" hybrid --candidates "$T/m.jsonl" --output_dir "$T/hybrid" ;;
            1) "$build/mutate" $s examples/checked.jsonl "$T/m.jsonl"
               try $name "$T/m.jsonl" "$rlaif" pairs --candidates "$T/m.jsonl" --pairing all --parts a=0.5,b=0.5 --output_dir "$T/pairs" ;;
            2) "$build/mutate" $s examples/outputs_a.json "$T/m.json"
               try $name "$T/m.json" "$rlaif" judge --annotations "$T/m.json" ;;
            esac ;;
        hub)
            [ -n "$hub_pid" ] || fuzz_hub
            case $((i % 3)) in
            0) # the listing as the Hub sends it
               "$build/mutate" $s "$T/tree.json" "$T/hub/body" || exit 1
               rm -rf "$T/hf2"
               try $name "$T/hub/body" env HF_HUB_OFFLINE=0 HF_ENDPOINT="$endpoint" HF_HOME="$T/hf2" "$rlaif" pull lab/s ;;
            1) # the listing as the cache keeps it
               "$build/mutate" $s "$T/trees.json" "$cached/trees/$commit.json" || exit 1
               try $name "$cached/trees/$commit.json" env HF_HOME="$T/hf" "$rlaif" pull lab/s ;;
            2) # a data set's card
               "$build/mutate" $s "$T/card.md" "$data/snapshots/$commit/README.md" || exit 1
               try $name "$data/snapshots/$commit/README.md" env HF_HOME="$T/hf" "$rlaif" sft -m "$model" --dataset_name lab/rows:train \
                   --output_dir "$T/sft" --max_steps 1 --overwrite_output_dir ;;
            esac ;;
        layout)
            [ -f "$T/layouts.jsonl" ] || sed -n 's/^> //p' tests/cases/layout/layouts.txt >"$T/layouts.jsonl"
            "$build/mutate" $s "$T/layouts.jsonl" "$T/m.jsonl" || exit 1
            to=(trl alpaca_eval rewardbench)
            try $name "$T/m.jsonl" "$rlaif" convert --input "$T/m.jsonl" --to ${to[i % 3]} --output_dir "$T/c" ;;
        store)
            [ -f "$T/whole.db" ] || { cp "$T/tiny/labels.db" "$T/whole.db" && "$rlaif" store "$T/whole.db" --vacuum >/dev/null; } || exit 1
            rm -f "$T"/m.db*
            "$build/mutate" $s "$T/whole.db" "$T/m.db" || exit 1
            case $((i % 2)) in
            0) try $name "$T/m.db" "$rlaif" store "$T/m.db" --export "$T/replies.jsonl" ;;
            1) cp "$T/whole.db" "$T/into.db"; try $name "$T/m.db" "$rlaif" store "$T/into.db" --merge "$T/m.db" ;;
            esac ;;
        endpoint)
            # what servers and batches reply; the server that is asked what it can do answers well
            [ -n "$judge_pid" ] || fuzz_endpoint
            "$build/mutate" $s "$T/replies.jsonl" "$T/m.jsonl" || exit 1
            rm -rf "$T/endpoint"
            try $name "$T/m.jsonl" "$rlaif" label --labeler "$judge" --task summary --input "$T/endpoint.jsonl" --output_dir "$T/endpoint" \
                --collect "$T/m.jsonl" ;;
        json)
            [ -f "$T/whole.json" ] || { echo "["; paste -sd, "$T/tiny/labels/pairs.jsonl"; echo "]"; } >"$T/whole.json"
            "$build/mutate" $s "$T/whole.json" "$T/m.json" || exit 1
            try $name "$T/m.json" "$rlaif" inspect "$T/m.json" ;;
        csv)
            [ -f "$T/whole.csv" ] || { echo 'prompt,chosen,rejected'; for k in $(seq 40); do
                printf '"%d, ""quoted""",two,"three\nlines"\r\n"",,x\n' $k; done; } >"$T/whole.csv"
            "$build/mutate" $s "$T/whole.csv" "$T/m.csv" || exit 1
            case $((i % 2)) in
            0) try $name "$T/m.csv" "$rlaif" inspect "$T/m.csv" ;;
            1) gzip -c "$T/m.csv" >"$T/p.csv.gz"; "$build/mutate" $s "$T/p.csv.gz" "$T/m.csv.gz"
               try $name "$T/m.csv.gz" "$rlaif" inspect "$T/m.csv.gz" ;;
            esac ;;
        parquet)
            files=(tests/vectors/data/{chat,types,nested,legacy,int96}/*.parquet)
            "$build/mutate" $s "${files[$((i % ${#files[@]}))]}" "$T/m.parquet" || exit 1
            try $name "$T/m.parquet" "$rlaif" inspect "$T/m.parquet" ;;
        yaml)
            # accepted or not, nothing runs: its inputs are not there
            "$build/mutate" $s tests/fuzz/recipe.yaml "$T/m.yaml" || exit 1
            try $name "$T/m.yaml" env -C "$T" "$rlaif" run "$T/m.yaml" --output_dir "$T/y" ;;
        protocol)
            "$build/mutate" $s examples/protocol.yaml "$T/m.yaml" || exit 1
            try $name "$T/m.yaml" "$rlaif" label --dry_run --cot --protocol "$T/m.yaml" --input "$T/pair.jsonl" ;;
        template)
            # each of the shipped chat templates in turn, with all conversations
            jinja=(tests/vectors/template/*.jinja)
            "$build/mutate" $s "${jinja[i % ${#jinja[@]}]}" "$T/m.jinja" || exit 1
            try $name "$T/m.jinja" "$rlaif" template -m tests/vectors/tokenizer/digits --chat_template "$T/m.jinja" \
                --input "$T/talks.jsonl" --keep_going ;;
        esac
    done
    echo "$target: $refused refused, $accepted accepted, $((findings - found)) findings"
done
echo "fuzz: $findings findings"
[ $findings = 0 ]
