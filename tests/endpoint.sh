#!/bin/bash
# endpoint.sh RLAIF - a real llama-server as a labeler: SmolLM2, written as an F32 GGUF file by `rlaif export`, labels 50
# pairs with 16 requests in flight, and its probabilities are those of our own engine on the same file.
# LLAMA_BIN names a folder with llama-server (else it is compiled once: tools/llama_cpp.sh); KEEP=folder keeps the file.
set -eu
cd "$(dirname "$0")/.."
rlaif=$1 pairs=${PAIRS:-50}
small=models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
[ -e "$small" ] || make --no-print-directory smollm2
bin=$(tools/llama_cpp.sh)
T=$(mktemp -d "${TMPDIR:-/tmp}/rlaif-endpoint-XXXXXX")
server=
trap '[ -n "$server" ] && kill $server 2>/dev/null; rm -rf "$T"' EXIT
model=${KEEP:-$T}/smollm2-f32.gguf
[ -e "$model" ] || "$rlaif" export -m "$small" --gguf F32 --output "$model" --quiet >/dev/null
export no_proxy=127.0.0.1

# Questions and two answers each, in an order that tells nothing.
awk -v n="$pairs" 'BEGIN {
    split("a lock,a ladder,an old car,a garden fence,bleach,a rowing boat,fireworks,a wild mushroom,a stray dog,a loud neighbour", thing, ",")
    split("open,climb,sell,paint,store", verb, ",")
    split("Ask somebody who knows it first.,Do it slowly and wear gloves.,I would rather not help with that.,Read the label and keep children away.", good, ",")
    split("Just do it while nobody looks.,Who cares; they are all fools.,Hit it until it gives in.", poor, ",")
    for (i = 0; i < n; i++) {
        q = "How do I " verb[i % 5 + 1] " " thing[int(i / 5) % 10 + 1] " number " i "?"
        a = good[i % 4 + 1]; b = poor[i % 3 + 1]
        if (i * 7 % 4 < 2) { t = a; a = b; b = t }
        printf "{\"prompt\": \"\\n\\nHuman: %s\\n\\nAssistant:\", \"completions\": [\" %s\", \" %s\"]}\n", q, a, b
    }
}' >"$T/pairs.jsonl"

port=$((20000 + $$ % 20000))
# keys and values unrounded, as ours are with --dtype float32
"$bin/llama-server" -m "$model" --host 127.0.0.1 --port $port -np 16 -c 16384 -t "${THREADS:-2}" --poll 0 -fa off -ctk f32 -ctv f32 \
    >"$T/server.log" 2>&1 & server=$!
for i in $(seq 600); do
    grep -q 'listening on' "$T/server.log" && break
    kill -0 $server 2>/dev/null || { tail -5 "$T/server.log"; exit 1; }
    sleep 0.2
done

label() { "$rlaif" label --task harmless --wording harmless --input "$T/pairs.jsonl" --min_label_mass 0 --quiet --json "$@"; }
label --labeler "http://127.0.0.1:$port/v1" --concurrency 16 --output_dir "$T/endpoint" >"$T/endpoint.json"
label --labeler "$model" --dtype float32 --output_dir "$T/local" >"$T/local.json"
label --labeler "http://127.0.0.1:$port/v1" --concurrency 16 --output_dir "$T/endpoint" >"$T/again.json"

bad=0
no() { echo "not ok: $*"; bad=1; }
figure() { sed -n "s/^ *\"$2\": \([0-9.]*\),*$/\1/p" "$T/$1.json"; }
numbers() { sed -n "s/.*\"$2\": *\([-0-9.e]*\).*/\1/p" "$T/$1/labels.jsonl"; }
worst() { paste <(numbers endpoint "$1") <(numbers local "$1") |
    awk '{ d = $1 - $2; d = d < 0 ? -d : d; if (d > m) m = d; n++ } END { printf "%.2e %d\n", m, n }'; }
[ "$(figure endpoint replies_computed)" = $((2 * pairs)) ] || no "$(figure endpoint replies_computed) replies, expected $((2 * pairs))"
[ "$(figure endpoint unanswered)" = 0 ] && [ "$(figure endpoint failed)" = 0 ] || no "pairs without a label"
[ "$(figure again replies_computed)" = 0 ] || no "asked again: $(figure again replies_computed) replies"
for key in label_order_a label_order_b label_mass; do
    read -r d n <<<"$(worst $key)"
    echo "$key: $n pairs, largest difference between llama-server and our engine $d"
    [ "$n" = "$pairs" ] || no "$key: $n rows"
    awk -v d="$d" -v most="${TOLERANCE:-5e-5}" 'BEGIN { exit !(d <= most) }' || no "$key differs by $d, more than ${TOLERANCE:-5e-5}"
done
if [ $bad = 0 ]; then echo "test-endpoint: $pairs pairs labelled through llama-server"; else echo "test-endpoint: see above"; fi
exit $bad
