#!/bin/bash
# rlaif tokenize and rlaif inspect on the small checkpoints of tests/vectors.
. "$(dirname "$0")/kit.sh"
tok=tests/vectors/tokenizer/llama3 gguf=tests/vectors/gguf/tiny.gguf folder=tests/vectors/gguf/folder

claim each_line_becomes_a_list_of_ids_and_comes_back
printf 'hello  world 12345\n\n  it'"'"'s caf\303\251 \n<|end|>' >"$T/lines"
run "$rlaif" tokenize -m $tok --input "$T/lines"; exits 0
cp "$OUT" "$T/ids"
check [ "$(wc -l <"$T/ids")" = 4 ]
check [ "$(sed -n 2p "$T/ids")" = "[]" ]
run "$rlaif" tokenize -m $tok --decode --input "$T/ids"; exits 0
{ cat "$T/lines"; echo; } >"$T/want"
same "$OUT" "$T/want"

claim special_tokens_are_parsed_and_added_on_request
echo '<|end|>' >"$T/special"
run "$rlaif" tokenize -m $tok --parse_special --input "$T/special"; prints "[1]"
run "$rlaif" tokenize -m $tok --add_special_tokens --parse_special --input "$T/special"; prints "[0, 1, 1]"
echo '[0, 1, 1]' >"$T/three"
run "$rlaif" tokenize -m $tok --decode --input "$T/three"; prints "<|begin|><|end|><|end|>"
run "$rlaif" tokenize -m $tok --decode --skip_special_tokens --input "$T/three"; check [ "$(cat "$OUT")" = "" ]

claim a_gguf_and_a_folder_give_the_same_ids
run "$rlaif" tokenize -m $gguf --input README.md; exits 0; cp "$OUT" "$T/a"
run "$rlaif" tokenize -m $folder --input README.md; exits 0; same "$OUT" "$T/a"

claim json_is_one_object
run "$rlaif" tokenize -m $tok --json --parse_special --input "$T/special"; exits 0; prints '"rows"'; prints '"lines": 1'

claim strings_may_hold_line_ends
printf '"a\\nb"\n"\\u00e9"\n' >"$T/strings"
run "$rlaif" tokenize -m $tok --strings --input "$T/strings"; exits 0; cp "$OUT" "$T/ids"
check [ "$(wc -l <"$T/ids")" = 2 ]
run "$rlaif" tokenize -m $tok --decode --strings --input "$T/ids"; exits 0; prints '"a\nb"'
echo '[1' >"$T/bad"
run "$rlaif" tokenize -m $tok --strings --input "$T/bad"; exits 1; says "line 1"

claim a_sentencepiece_model_is_saved_as_json
run "$rlaif" tokenize -m tests/vectors/tokenizer/spm_bpe --save_tokenizer "$T/saved"; exits 0
check [ -s "$T/saved/tokenizer.json" ]
run "$rlaif" tokenize -m tests/vectors/tokenizer/spm_bpe/tokenizer.model --input "$T/lines"; exits 0; cp "$OUT" "$T/ids"
run "$rlaif" tokenize -m "$T/saved" --input "$T/lines"; exits 0; same "$OUT" "$T/ids"

claim wrong_ids_and_missing_models_are_named
echo '[1, 99999999]' >"$T/bad"
run "$rlaif" tokenize -m $tok --decode --input "$T/bad"; exits 1; says "line 1: id 2"
echo '{"a": 1}' >"$T/bad"
run "$rlaif" tokenize -m $tok --decode --input "$T/bad"; exits 1; says "expected a list of ids"
run "$rlaif" tokenize -m "$T/bad" --input README.md; exits 1; says "no tokenizer here"

claim inspect_says_what_a_model_holds
run "$rlaif" inspect $gguf; exits 0; prints "gguf"; prints "model.layers.2.mlp.down_proj.weight"; prints "Q5_1"
run "$rlaif" inspect --path $folder --json; exits 0; prints '"hidden_size": 32'; prints '"kind": "model"'

claim inspect_names_family_size_shape_and_tokenizer
run "$rlaif" inspect $gguf; exits 0; prints "family      Llama"; prints "format      GGUF"; prints "byte-level BPE, 420 tokens"; prints "eos <|im_end|>"
prints "template    yes"; prints "Q5_1"
run "$rlaif" inspect tests/vectors/llama/reward; exits 0; prints "a reward model"; prints "template    none"; prints "12 F32 tensors"
run "$rlaif" inspect tests/vectors/families/mixtral --json; exits 0; prints '"experts": 5,'; prints '"experts_used": 2'
run "$rlaif" inspect tests/vectors/families/gemma3; exits 0; prints "2 layers see the last 15"; prints "(22152)"

claim inspect_knows_every_family
for type in $("$rlaif" families | awk '/^[a-z]/ { print $1 }'); do
    folder=$(grep -l "\"model_type\": \"$type\"" tests/vectors/families/*/config.json | head -1)
    check [ -n "$folder" ]
    run "$rlaif" inspect "${folder%/config.json}"; exits 0; prints "($type)"; prints "layers      "; prints "heads       "
done

claim inspect_says_what_a_dataset_holds
printf '{"prompt":"a","chosen":"b","rejected":"c"}\n{"prompt":"d","chosen":"e","rejected":7}\n' >"$T/rows.jsonl"
run "$rlaif" inspect "$T/rows.jsonl" --json; exits 0; prints '"kind": "dataset"'; prints '"rows": 2'; prints '"pairs"'
