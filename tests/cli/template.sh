#!/bin/bash
# rlaif template: conversations through chat templates.
. "$(dirname "$0")/kit.sh"
tok=tests/vectors/tokenizer/digits
printf '{{ bos_token }}{%% for m in messages %%}[{{ m.role }}] {{ m.content }}\n{%% endfor %%}{%% if add_generation_prompt %%}[>]{%% endif %%}' >"$T/own.jinja"

claim each_conversation_becomes_a_line
printf '%s\n' '[{"role": "user", "content": "h\u00e9"}]' '{"messages": [{"role": "user", "content": "a"}], "add_generation_prompt": true}' >"$T/talks"
run "$rlaif" template -m $tok --chat_template "$T/own.jinja" --input "$T/talks"; exits 0
check [ "$(sed -n 1p "$OUT")" = '"[user] hé\n"' ]
check [ "$(sed -n 2p "$OUT")" = '"[user] a\n[>]"' ]
run "$rlaif" template -m $tok --chat_template chatml --text --add_generation_prompt --input "$T/talks"; exits 0
prints "<|im_start|>user"; prints "<|im_start|>assistant"

claim what_fails_is_named_by_line_and_reason
printf '%s\n' '[{"role": "user"}]' '{"messages": [], "nonsense": 1}' '[' '[]' >"$T/bad"
printf 'a\n{{ messages[0].content.x }}' >"$T/strict.jinja"
run "$rlaif" template -m $tok --chat_template "$T/strict.jinja" --input "$T/bad"; exits 1
says "line 1: "; says "strict.jinja: line 2 of the chat template: 'dict object' has no attribute 'content'"
run "$rlaif" template -m $tok --chat_template "$T/strict.jinja" --input "$T/bad" --keep_going; exits 0
check [ "$(wc -l <"$OUT")" = 4 ]; prints "nonsense"
run "$rlaif" template -m $tok --input "$T/talks"; exits 1; says "no chat template"
run "$rlaif" template -m $tok --chat_template nowhere --input "$T/talks"; exits 1; says "no chat template named 'nowhere'"
