#!/bin/bash
# chat through a pipe, with a tiny random model: what is said, kept, computed and refused.
. "$(dirname "$0")/kit.sh"
export RLAIF_THREADS=1
tiny=tests/vectors/gguf/tiny.gguf
# chat INPUT [FLAG...] - INPUT as printf's format
chat() {
    kit_last="chat <<< $1"
    printf "$1" | "$rlaif" chat $tiny --max_new_tokens 8 --chat_template chatml "${@:2}" >"$OUT" 2>"$ERR"
    rc=$?
}
number() { sed -n "s/.*\"$1\": *\\([0-9]*\\).*/\\1/p" "$OUT"; }
roles() { grep -c "\"role\": \"$1\"" "$OUT"; }

claim an_answer_is_printed_for_each_line_and_nothing_else
chat 'Once\nupon a time\n'; exits 0
check [ -s "$OUT" ]
cp "$OUT" "$T/two"
chat 'Once\nupon a time' --quiet; exits 0; same "$OUT" "$T/two"       # the last line may lack its end
chat '\n  \nOnce\nupon a time\n/quit\nmore\n'; exits 0; same "$OUT" "$T/two"
chat 'Once\nupon a time\n' --seed 7; exits 0; check [ "$(cmp -s "$OUT" "$T/two"; echo $?)" = 1 ]
chat ''; exits 0; check [ ! -s "$OUT" ]

claim the_conversation_goes_on_and_only_what_is_new_is_computed
one_more() { chat "$1" --json --temperature 0; computed=$(number computed_tokens) prompt=$(number prompt_tokens) new=$(number new_tokens); }
one_more 'Once\n'; exits 0
check [ "$computed" = "$prompt" ]
p1=$prompt n1=$new
one_more 'Once\nupon\n'; exits 0; check [ "$(number turns)" = 2 ]; check [ "$(roles assistant)" = 2 ]
p2=$((prompt - p1))
# the second prompt begins with the first and its answer, whose last token was said but not computed; a few more where
# the answer is tokenised otherwise than it was sampled
check [ $((computed - p1)) -ge $((p2 - p1 - n1 + 1)) ]
check [ $((computed - p1)) -le $((p2 - p1 + 2)) ]
one_more 'Once\nupon\n/reset\nOnce\n'; exits 0
check [ "$(number prompt_tokens)" = $((p1 + p2 + p1)) ]
check [ "$(roles user)" = 1 ]

claim a_system_message_is_set_and_taken_away
chat 'Once\n' --json --system 'Be short.'; exits 0; prints '"content": "Be short."'; check [ "$(roles system)" = 1 ]
chat '/system Be long.\nOnce\n/reset\nupon\n' --json --system 'Be short.'; exits 0
prints '"content": "Be long."'; check [ "$(roles system)" = 1 ]; check [ "$(roles user)" = 1 ]
chat '/system\nOnce\n' --json --system 'Be short.'; exits 0; check [ "$(roles system)" = 0 ]

claim lines_can_be_joined_and_quoted
chat 'a\\\nb \\\nc\n' --json; exits 0; prints '"content": "a\nb \nc"'
chat '"""a\n/reset\n\nb"""\n' --json; exits 0; prints '"content": "a\n/reset\n\nb"'
chat '"""one"""\r\n' --json; exits 0; prints '"content": "one"'
chat '"""open\nend' --json; exits 0; prints '"content": "open\nend"'
chat '//etc is a folder\n' --json; exits 0; prints '"content": "/etc is a folder"'

claim conversations_are_saved_as_rows_and_loaded
chat "/system S\nOnce\n/save $T/talks.jsonl\nupon\n/save $T/talks.jsonl\n"; exits 0; says "5 messages"
check [ "$(wc -l <"$T/talks.jsonl")" = 2 ]
check grep -q '^{"messages": \[{"role": "system", "content": "S"}, {"role": "user", "content": "Once"}, {"role": "assistant"' "$T/talks.jsonl"
run "$rlaif" inspect "$T/talks.jsonl" --json; exits 0; prints '"examples"'
chat "/load $T/talks.jsonl\na time\n" --json; exits 0; check [ "$(roles user)" = 3 ]; check [ "$(roles system)" = 1 ]

claim a_wrong_command_changes_nothing_and_is_explained
chat "Once\n/rest\n/save\n/save $T/none/x\n/load $T/absent.jsonl\nupon a time\n"; exits 0
says "did you mean /reset"; says "/save needs a file"; says "$T/none/x"; says "absent.jsonl"; same "$OUT" "$T/two"
echo '{"prompt": "x"}' >"$T/no.jsonl"
echo '{"messages": [{"role": 1}]}' >"$T/odd.jsonl"
chat "Once\n/load $T/no.jsonl\n/load $T/odd.jsonl\nupon a time\n"; exits 0; says "no 'messages'"; says "odd.jsonl"; same "$OUT" "$T/two"
chat '/help\n'; exits 0; says "/system"; says "/save"; says "Ctrl-C"

claim a_conversation_in_one_go_and_one_taken_up_again_are_the_same_in_every_family
talk() { printf "$1" | "$rlaif" chat "$T/$f" --chat_template chatml --temperature 0 --max_new_tokens 10 >/dev/null 2>"$ERR"; rc=$?; kit_last="chat with $f"; exits 0; }
for d in tests/vectors/families/*/config.json; do
    f=$(basename "${d%/config.json}")
    mkdir "$T/$f"
    cp "${d%/config.json}"/* tests/vectors/families/tokenizer.json "$T/$f/"
    talk "Once\n/save $T/$f/first.jsonl\nupon a time\n/save $T/$f/straight.jsonl\n"
    talk "/load $T/$f/first.jsonl\nupon a time\n/save $T/$f/again.jsonl\n"
    same "$T/$f/straight.jsonl" "$T/$f/again.jsonl"
done

claim a_full_context_is_said_and_the_question_forgotten
long=$(printf 'word %.0s' $(seq 60))
chat "Once\n$long\nupon a time\n" --max_length 120; exits 0; says "the context is full"; says "/reset"; same "$OUT" "$T/two"
chat "Once\n" --max_length 40 --max_new_tokens 1000; exits 0; says "the context is full: the answer was cut"
chat "Once\n" --max_length 100000000; exits 2; says "max_length"

claim plain_completion_continues_each_text
chat 'Once\n' --chat_template none --temperature 0; exits 0
cat "$OUT" "$OUT" >"$T/twice"
chat 'Once\nOnce\n' --chat_template none --temperature 0; exits 0; same "$OUT" "$T/twice"
chat '/system x\nOnce\n' --chat_template none; exits 0; says "no system message"

claim a_model_without_a_template_is_refused_with_a_way_on
run "$rlaif" chat tests/vectors/llama/tied </dev/null; exits 1; says "--chat_template chatml"; says "--chat_template none"

claim unusable_input_and_flags_are_named
chat 'a\0b\n'; exits 1; says "NUL"
chat 'a\xff\n'; exits 1; says "UTF-8"
chat 'x\n' --temperature -1; exits 2; says temperature
chat 'x\n' --max_new_tokens 0; exits 2; says max_new_tokens
run "$rlaif" chat; exits 2; says model_name_or_path
run "$rlaif" chat $tiny twice; exits 2; says twice
run "$rlaif" chat "$T/nowhere"; exits 1; says nowhere
printf 'output_dir: %s\nstages:\n  c:\n    stage: chat\n    model_name_or_path: %s\n' "$T/r" $tiny >"$T/r.yaml"
run "$rlaif" run "$T/r.yaml"; exits 2; says "no stage of a recipe"

if script -qec true /dev/null >/dev/null 2>&1; then
    claim a_terminal_gets_prompts_and_help
    printf 'Once\r/help\r\004' | script -qec "$rlaif chat $tiny --chat_template chatml --max_new_tokens 4" /dev/null >"$OUT" 2>"$ERR"
    rc=$? kit_last="chat in a terminal"
    exits 0; prints "/help lists the commands"; prints "> "; prints "/save"
else
    skip a_terminal_gets_prompts_and_help "no pseudo-terminal can be had here (script, /dev/pts)"
fi

claim an_interrupt_stops_the_answer_and_not_the_program
mkfifo "$T/in"
slow=$tiny      # a model that takes a moment to finish, where it is here
[ -f models/s/model.safetensors ] && slow=models/s
"$rlaif" chat $slow --chat_template chatml --max_new_tokens 300 --temperature 20 <"$T/in" >"$OUT" 2>"$ERR" &
pid=$!
exec 9>"$T/in"
wait_for() { for i in $(seq 1000); do "$@" && return; sleep 0.01; done; }
grown() { [ "$(wc -c <"$OUT")" -gt "$n" ]; }
noted() { [ "$(grep -c "stopped\|cut\|full" "$ERR")" -ge "$try" ]; }
for try in $(seq 40); do        # one may be done before the signal comes
    n=$(wc -c <"$OUT")
    printf '/reset\nOnce\n' >&9
    wait_for grown
    kill -INT $pid
    wait_for noted
    grep -q stopped "$ERR" && break
done
kit_last="chat, interrupted"
check grep -q stopped "$ERR"
n=$(wc -c <"$OUT")
printf '/reset\nupon a time\n' >&9
wait_for grown
check grown
exec 9>&-
rc=0; wait $pid || rc=$?
exits 0
