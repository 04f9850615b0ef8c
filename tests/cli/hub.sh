#!/bin/bash
# Models and data sets by their names on the Hub: pull, models, stages, recipes; against a scripted Hub.
. "$(dirname "$0")/kit.sh"
hub=$build/tests/hub
if [ ! -x "$hub" ]; then skip hub "no $hub (make tests-built)"; exit 0; fi
. tests/tiny.sh
commit=0123456789abcdef0123456789abcdef01234567
H=$T/hub m=$H/repos/models/lab/s d=$H/repos/datasets/lab/rows
tiny "$T/tiny" >"$T/log" 2>&1 || { tail -5 "$T/log"; exit 1; }
mkdir -p $m/$commit $m/refs $d/$commit/data $d/refs
cp "$T/tiny/sft"/*.json "$T/tiny/sft"/model.safetensors $m/$commit/
echo pickle >$m/$commit/pytorch_model.bin
head -6 "$T/tiny/world/sft.jsonl" >$d/$commit/data/train-00000-of-00002.jsonl
tail -4 "$T/tiny/world/sft.jsonl" >$d/$commit/data/train-00001-of-00002.jsonl
head -2 "$T/tiny/world/sft.jsonl" >$d/$commit/data/test-00000-of-00001.jsonl
printf %s $commit >$m/refs/main; printf %s $commit >$d/refs/main
: >"$H/faults"
"$hub" "$H" & hub_pid=$!
for i in $(seq 1200); do [ -s "$H/ports" ] && break; sleep 0.05; done
export HF_ENDPOINT=http://127.0.0.1:$(cut -d' ' -f1 "$H/ports") HF_HOME=$T/home no_proxy=127.0.0.1 RLAIF_THREADS=1
unset HF_HUB_CACHE HF_TOKEN HF_HUB_OFFLINE TRANSFORMERS_OFFLINE
asked() { grep -c "GET .*$1" "$H/log" 2>/dev/null; }
trap 'kill $hub_pid 2>/dev/null; kit_end' EXIT

claim a_name_works_wherever_a_model_does
echo "hello there" >"$T/lines"
run "$rlaif" tokenize -m lab/s --input "$T/lines"; exits 0
cp "$OUT" "$T/ids"
run "$rlaif" tokenize -m "$T/tiny/sft" --input "$T/lines"; exits 0
same "$OUT" "$T/ids"
check [ "$(asked pytorch)" = 0 ]
run "$rlaif" inspect lab/s; exits 0; prints "model"

claim what_is_cached_needs_no_hub
n=$(asked .)
HF_HUB_OFFLINE=1 run "$rlaif" tokenize -m lab/s --input "$T/lines"; exits 0
run "$rlaif" tokenize -m lab/s@$commit --input "$T/lines"; exits 0
check [ "$(asked .)" = "$n" ]

claim a_name_that_is_neither_says_that_both_were_tried
run "$rlaif" tokenize -m lab/none --input "$T/lines"; exits 1
says "there is no file or folder 'lab/none' here"; says "$HF_ENDPOINT has no model of this name"
run "$rlaif" tokenize -m "$T/nowhere" --input "$T/lines"; exits 1; says nowhere

claim what_is_here_wins
mkdir -p "$T/in/lab"; ln -s "$T/tiny/sft" "$T/in/lab/s"
n=$(asked .)
kit_last="tokenize in $T/in"; (cd "$T/in" && HF_HOME=$T/empty "$rlaif" tokenize -m lab/s --input "$T/lines") >"$OUT" 2>"$ERR"; rc=$?
exits 0; same "$OUT" "$T/ids"
check [ "$(asked .)" = "$n" ]

claim a_data_set_is_named_by_split
run "$rlaif" sft -m lab/s --dataset_name lab/rows --dataset_train_split test --output_dir "$T/sft" --max_steps 1; exits 0
present "$T/sft/model.safetensors"
run "$rlaif" sft -m lab/s --dataset_name lab/rows:dev --output_dir "$T/sft2" --max_steps 1; exits 1; says "it has test, train"
absent "$T/sft2/model.safetensors"
run "$rlaif" sft -m lab/s --dataset_name lab/rows --output_dir "$T/sft3" --max_steps 1 --json; exits 0; prints '"items": 10'
run "$rlaif" inspect lab/rows:test; exits 0; prints "rows"
run "$rlaif" inspect lab/none; exits 1; says "has no model of this name"

claim models_lists_the_cache
run "$rlaif" models; exits 0; prints "lab/s"; prints "0123456789ab main"
run "$rlaif" models --json; exits 0; prints '"kind": "model"'

claim pull_fetches_and_says_what
run "$rlaif" pull lab/s --json; exits 0; prints "\"commit\": \"$commit\""; prints '"files_fetched": 0'
run "$rlaif" pull lab/rows --repo_type dataset --include '*.jsonl' --json; exits 0; prints '"files": 3'
run "$rlaif" pull lab/s --revision nope; exits 1; says "has no revision 'nope'"
run "$rlaif" pull; exits 2
HF_HOME=$T/h2 run "$rlaif" pull lab/s --include 'config.json'; exits 0
check [ "$(ls "$T/h2/hub/models--lab--s/snapshots/$commit")" = config.json ]

claim a_recipe_is_fresh_while_the_commit_is_the_same
cat >"$T/r.yaml" <<END
output_dir: $T/run
stages:
  look:
    stage: inspect
    path: lab/s
END
run "$rlaif" run "$T/r.yaml"; exits 0; says "[1/1] look: inspect"
HF_HUB_OFFLINE=1 run "$rlaif" run "$T/r.yaml"; exits 0; says "look: fresh"
check grep -q "\"lab/s\": \"$commit\"" "$T/run/stages/look.json"
next=76543210fedcba9876543210fedcba9876543210
cp -r $m/$commit $m/$next; printf %s $next >$m/refs/main
run "$rlaif" run "$T/r.yaml"; exits 0; says "look: fresh"
run "$rlaif" pull lab/s; exits 0
run "$rlaif" run "$T/r.yaml"; exits 0; says "[1/1] look: inspect"

claim a_killed_pull_goes_on
echo "1 cdn rate 100000" >"$H/faults"
export HF_HOME=$T/h3
"$rlaif" pull lab/s >/dev/null 2>&1 & pid=$!
for i in $(seq 1200); do [ -n "$(find "$T/h3" -name '*.incomplete' -size +20k 2>/dev/null)" ] && break; sleep 0.05; done
kill -9 $pid; wait $pid 2>/dev/null
absent "$T/h3/hub/models--lab--s/snapshots/$next/model.safetensors"
run "$rlaif" pull lab/s; exits 0
same "$T/h3/hub/models--lab--s/snapshots/$next/model.safetensors" "$T/tiny/sft/model.safetensors"
check grep -q 'cdn GET .*range=[1-9]' "$H/log"
