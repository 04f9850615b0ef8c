#!/bin/bash
# An endpoint as the labeler, through the command: errors in one sentence, keys nowhere, budgets, prices, nothing asked twice.
. "$(dirname "$0")/kit.sh"
export no_proxy=127.0.0.1
judges=
trap 'kill $judges 2>/dev/null; kit_end' EXIT
judge() { # NAME SETUP: starts a scripted server (tests/kit/judge.c); $url is its address
    mkdir -p "$T/$1"
    printf '%b' "$2" >"$T/$1/setup"; : >"$T/$1/faults"
    "$build/tests/judge" "$T/$1" & judges="$judges $!"
    while [ ! -s "$T/$1/port" ]; do sleep 0.02; done
    url=http://127.0.0.1:$(cat "$T/$1/port")/v1
}
asked() { grep -c "^POST .* 200 " "$T/$1/log"; }
for i in $(seq 20); do
    echo "{\"prompt\":\"A post, $i.\",\"completions\":[\"Short $i.\",\"Long $i, and more.\"]}"
done >"$T/pairs.jsonl"
label() { run "$rlaif" label --task summary --input "$T/pairs.jsonl" --json "$@"; }

judge a 'kind openai\nkey sk-good-key-123\n'
claim pairs_are_labelled_and_not_asked_for_again
export RLAIF_API_KEY=sk-good-key-123
label --labeler "$url" --output_dir "$T/l"
exits 0; prints '"replies_computed": 40'; says "labeler: judge-1 at $url"; says "log-probs of 20 tokens"
check [ "$(wc -l <"$T/l/pairs.jsonl")" = 20 ]
n=$(asked a)
label --labeler "$url" --output_dir "$T/l"
exits 0; prints '"replies_found": 40'
check [ $(($(asked a) - n)) -lt 8 ]   # only what finds out what the server gives

claim keys_are_in_no_file_and_no_message
check [ -z "$(grep -rlF sk-good-key "$T/l")" ]
check [ -z "$(grep -F sk-good-key "$OUT" "$ERR")" ]
echo sk-bad-key-456 >"$T/key"
label --labeler "$url" --output_dir "$T/m" --api_key_file "$T/key"
exits 1; says "refuses the key"; check [ -z "$(grep -F sk-bad-key "$ERR")" ]
check [ "$(grep -c . "$ERR")" = 1 ]
echo sk-good-key-123 >"$T/key"
RLAIF_API_KEY= label --labeler "$url#judge-1" --output_dir "$T/m" --api_key_file "$T/key"; exits 0

claim wrong_models_and_servers_are_one_sentence
label --labeler "$url#other" --output_dir "$T/n"; exits 1; says "it has judge-1"
label --labeler "http://127.0.0.1:1/v1" --output_dir "$T/n"; exits 1; says "127.0.0.1"
check [ "$(grep -c . "$ERR")" = 1 ]
label --labeler "$url?key=1" --output_dir "$T/n"; exits 2; says "no user, password or query"

claim budgets_stop_cleanly_and_the_next_run_goes_on
echo '- {model: "judge-*", input: 1000, cached_input: 500, output: 2000}' >"$T/prices.yaml"
label --labeler "$url" --output_dir "$T/o" --concurrency 2 --price_table "$T/prices.yaml" --max_cost 1
exits 1; says 'budget of $1 is spent'; says "are kept"
absent "$T/o/pairs.jsonl"
label --labeler "$url" --output_dir "$T/o" --concurrency 2 --price_table "$T/prices.yaml"
exits 0; check [ -z "$(grep -F '"replies_found": 0' "$OUT")" ]
label --labeler "$url" --output_dir "$T/p" --max_cost 1; exits 2; says "price_table"
label --labeler "$url" --output_dir "$T/p" --concurrency 2 --max_tokens_spent 500; exits 1; says "budget of 500 tokens"

claim batches_are_written_collected_and_asked_for_once
label --labeler "$url" --output_dir "$T/q" --batch_file "$T/questions.jsonl"
says "40 questions are in $T/questions.jsonl"
check [ "$(wc -l <"$T/questions.jsonl")" = 40 ]
check [ -z "$(grep -F sk-good "$T/questions.jsonl")" ]
sed 's|^{"custom_id": "\([0-9a-f]*\)".*|{"custom_id": "\1", "response": {"status_code": 200, "body": {"choices": [{"message": {"content": "1"}, "logprobs": {"content": [{"token": "1", "top_logprobs": [{"token": "1", "logprob": -0.2}, {"token": "2", "logprob": -1.8}]}]}}]}}}|' \
    "$T/questions.jsonl" >"$T/replies.jsonl"
label --labeler "$url" --output_dir "$T/q" --collect "$T/replies.jsonl"
exits 0; prints '"replies_computed": 40'; check [ "$(wc -l <"$T/q/pairs.jsonl")" = 20 ]
label --labeler "$url" --output_dir "$T/q"
exits 0; prints '"replies_found": 40'
label --labeler "$url" --output_dir "$T/q" --collect a --batch_file b; exits 2; says "one at a time"

claim labels_of_several_become_one
for n in 1 2 3; do
    for i in $(seq 40); do # labeler n is right in 10 + 10 n of 40
        p=$([ $(((i * 7 + n * 3) % 40)) -lt $((10 + 10 * n)) ] && echo 0.9 || echo 0.2)
        echo "{\"id\":\"$i\",\"prompt\":\"q $i\",\"first\":\"a\",\"second\":\"b\",\"label_first\":$p,\"human\":1}"
    done >"$T/l$n.jsonl"
done
run "$rlaif" ensemble --labels "$T/l1.jsonl" "$T/l2.jsonl" "$T/l3.jsonl" --ensemble weighted --output_dir "$T/e" --json
exits 0; prints '"pairs": 40'; prints '"alignment": 1.0'; prints '0.75'
check [ "$(wc -l <"$T/e/pairs.jsonl")" = 40 ]
run "$rlaif" ensemble --labels "$T/l1.jsonl" "$T/l2.jsonl" --ensemble mean --output_dir "$T/e" --json; exits 0
run "$rlaif" ensemble --labels "$T/l1.jsonl" --output_dir "$T/e"; exits 2; says "expected 2 to 32"
sed 's/,"human":1//' "$T/l1.jsonl" >"$T/l4.jsonl"
run "$rlaif" ensemble --labels "$T/l1.jsonl" "$T/l4.jsonl" --ensemble weighted --output_dir "$T/e"; exits 1; says "cannot be weighted"
