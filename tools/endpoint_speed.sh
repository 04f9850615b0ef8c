#!/bin/bash
# endpoint_speed.sh BUILD - what asking a server costs.
#
#   1. A real llama-server with 16 slots, asked 16 at a time for texts, beside llama-batched-bench on the same file with the
#      same numbers of tokens, in turns: tokens per second, and per second of the processor that each of the two used (what
#      counts on a machine that others use, too).
#   2. The scripted server (tests/kit/judge.c), which answers at once: processor time and memory of our side over N (100000)
#      questions; and with TLS.
#   3. What TLS costs: the same server takes 30 ms for an answer, 6000 questions 16 at a time, without and with TLS in turns.
#
# LLAMA_BIN names a folder with both programs (else tools/llama_cpp.sh compiles them).  ROUNDS=3 TOKENS=64 THREADS=1 N=100000 PART=1|2|3
set -eu
cd "$(dirname "$0")/.."
build=$1 rounds=${ROUNDS:-3} tokens=${TOKENS:-64} threads=${THREADS:-1} n=${N:-100000} part=${PART:-123}
model=models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
T=$(mktemp -d "${TMPDIR:-/tmp}/rlaif-speed-XXXXXX")
pids=
trap 'kill $pids 2>/dev/null; rm -rf "$T"' EXIT
export no_proxy=127.0.0.1
ticks=$(getconf CLK_TCK)
cpu_of() { awk -v t="$ticks" '{ print ($14 + $15) / t }' "/proc/$1/stat"; }

beside_llama() {
    local bin port=$((20000 + $$ % 20000)) server i before line
    bin=$(tools/llama_cpp.sh)
    "$bin/llama-server" -m "$model" --host 127.0.0.1 --port $port -np 16 -c 8192 -t "$threads" -tb "$threads" --poll 0 >"$T/server.log" 2>&1 &
    server=$!; pids="$pids $server"
    for i in $(seq 600); do grep -q 'listening on' "$T/server.log" && break; sleep 0.2; done
    "$build/tests/flood" "http://127.0.0.1:$port/v1" 16 16 text 4 >/dev/null # once, to be warm
    for i in $(seq "$rounds"); do
        before=$(cpu_of $server)
        line=$("$build/tests/flood" "http://127.0.0.1:$port/v1" 48 16 text "$tokens")
        echo "$line" | awk -v c="$before" -v d="$(cpu_of $server)" '{ match($0, /[0-9.]+ tokens in\/s/); a = substr($0, RSTART) + 0
            match($0, /[0-9.]+ tokens out\/s/); b = substr($0, RSTART) + 0; match($0, /[0-9.]+ s:/); s = substr($0, RSTART) + 0
            printf "server  %8.1f tokens/s  %8.1f per processor second\n", a + b, (a + b) * s / (d - c) }'
        echo "        $line"
        # prompts of flood.c are about 60 tokens
        { TIMEFORMAT='%U %S'; time "$bin/llama-batched-bench" -m "$model" -c 8192 -npp 60 -ntg "$tokens" -npl 16 -t "$threads" -tb "$threads" \
            --poll 0 >"$T/bench" 2>/dev/null; } 2>"$T/time"
        awk -F'|' -v u="$(awk '{ print $1 + $2 }' "$T/time")" '$2 + 0 == 60 { printf "bench   %8.1f tokens/s  %8.1f per processor second\n", $11, $5 / u }' "$T/bench"
    done
}

# scripted DIR SETUP: starts a server
scripted() {
    mkdir -p "$T/$1"
    printf '%b' "$2" >"$T/$1/setup"; : >"$T/$1/faults"
    "$build/tests/judge" "$T/$1" & pids="$pids $!"
    while [ ! -s "$T/$1/port" ]; do sleep 0.05; done
}
# asked DIR SCHEME N: N questions to it
asked() {
    printf '%-7s' "$2"
    CURL_CA_BUNDLE=$T/$1/cert.pem "$build/tests/flood" "$2://127.0.0.1:$(cat "$T/$1/port")/v1" "$3" 16
}
what_tls_costs() {
    local i
    scripted late 'kind openai\nlatency 0.03\n'
    scripted late-tls 'kind openai\nlatency 0.03\ntls 1\n'
    for i in $(seq "$rounds"); do asked late http 6000; asked late-tls https 6000; done | tee "$T/late.txt"
    awk '{ match($0, /[0-9.]+\/s/); rate[$1] += substr($0, RSTART) + 0 }
        END { printf "with TLS / without: %.3f of the questions per second\n", rate["https"] / rate["http"] }' "$T/late.txt"
}

case $part in *1*) beside_llama ;; esac
case $part in *2*)
    scripted http 'kind openai\n'; asked http http "$n"
    scripted https 'kind openai\ntls 1\n'; asked https https "$n" ;;
esac
case $part in *3*) what_tls_costs ;; esac
