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
