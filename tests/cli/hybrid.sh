#!/bin/bash
# hybrid: verdicts before preferences, from rows to pairs; without a labeler it checks by rule alone.
. "$(dirname "$0")/kit.sh"
export RLAIF_THREADS=1

claim answers_are_checked_by_rule_and_sorted
run "$rlaif" hybrid --candidates examples/checked.jsonl --output_dir "$T/a" --json
exits 0; prints '"prompts": 6'; prints '"rule_answers": 24'; prints '"pairs_correctness": 22'; prints '"choices"'
check [ "$(wc -l <"$T/a/verdicts.jsonl")" = 6 ]
for key in prompt chosen rejected label_prob category stage verdict_by chosen_index rejected_index id; do
    check [ "$(grep -c "\"$key\":" "$T/a/pairs.jsonl")" = 22 ]
done
check [ "$(grep -c '"chosen": "24 + 15 = 39"' "$T/a/pairs.jsonl")" = 0 ]

claim a_wrong_answer_never_meets_a_wrong_one
echo '{"prompt":"1+1?","reference":"2","completions":["3","4","5"],"correct":[false,false,false]}' >"$T/wrong.jsonl"
echo '{"prompt":"1+2?","reference":"3","completions":["3","4","5"],"correct":[true,false,false]}' >>"$T/wrong.jsonl"
run "$rlaif" hybrid --candidates "$T/wrong.jsonl" --output_dir "$T/w" --json
exits 0; prints '"all wrong": 1'; prints '"pairs_correctness": 2'
check [ "$(grep -c '"chosen": "3"' "$T/w/pairs.jsonl")" = 2 ]
run "$rlaif" hybrid --candidates "$T/wrong.jsonl" --pairs best_worst --output_dir "$T/w1" --json
exits 0; prints '"pairs_correctness": 1'

claim rows_that_cannot_be_used_are_listed_with_their_reason
{ echo '{"prompt":"1+1?","reference":"2","completions":["2","4"],"category":"maths"}'
  echo '{"prompt":"1+1?","reference":"2","completions":[]}'
  echo '{"prompt":"1+1?","reference":{"a":1},"completions":["2"]}'
  echo '{"prompt":"1+1?","reference":"2","completions":["2"],"correct":[true,false]}'
  echo '{"prompt":"1+1?","reference":"2","completions":["2",7]}'
  echo '{"prompt":"1+1?","reference":"2","completions":["2","4"]}'; } >"$T/odd.jsonl"
run "$rlaif" hybrid --candidates "$T/odd.jsonl" --output_dir "$T/o" --json
exits 0; prints '"prompts": 1'; prints '"rejected": 5'
check grep -q "none of the twelve" "$T/o/rejected.jsonl"
check grep -q "a list of 1, one for each completion" "$T/o/rejected.jsonl"
head -5 "$T/odd.jsonl" >"$T/none.jsonl"
run "$rlaif" hybrid --candidates "$T/none.jsonl" --output_dir "$T/n"; exits 1; says "no row with a prompt and answers"

solutions=../shared/data/gsm8k-model-solutions.jsonl.gz
if [ -e $solutions ]; then
    claim every_solution_of_gsm8k_is_judged_as_it_was
    run "$rlaif" hybrid --candidates $solutions --output_dir "$T/g" --json
    exits 0; prints '"rule_answers": 5276'; prints '"rule_accuracy": 1.0'; prints '"all wrong": 432'
else
    skip every_solution_of_gsm8k_is_judged_as_it_was "$solutions is not here"
fi

claim a_labeler_is_asked_once_and_every_verdict_is_in_the_rows
ask() { run "$rlaif" hybrid --candidates examples/checked.jsonl --labeler tests/vectors/gguf/tiny.gguf --min_label_mass 0 --min_coverage 0 --json "$@"; }
ask --plain --output_dir "$T/l"
exits 0; prints '"ai_answers": 24'; prints '"ai_blind_answers": 24'; prints '"comparisons_plain": 36'; prints '"rule_ai_disagreement"'
prints '"ai_verdict": "log-probs of yes and no"'
for key in ai ai_blind rule comparisons plain; do check [ "$(grep -c "\"$key\":" "$T/l/verdicts.jsonl")" = 6 ]; done
cp -r "$T/l" "$T/l1"
ask --plain --output_dir "$T/l"; exits 0; prints '"replies_computed": 0'
for f in pairs plain_pairs verdicts; do same "$T/l/$f.jsonl" "$T/l1/$f.jsonl"; done
ask --verifier ai_blind --votes 2 --max_new_tokens 8 --max_prompts 1 --output_dir "$T/l2"; exits 0; prints '"ai_verdict": "majority of 2 written checks"'
run "$rlaif" hybrid --candidates examples/checked.jsonl --verifier ai --output_dir "$T/l3"; exits 2; says "need a --labeler"
ask --votes 1000 --output_dir "$T/l3"; exits 2; says "votes is 1000"

claim a_question_that_got_no_reply_is_said_and_nothing_is_written
printf '{"prompt":"%s","reference":"1","completions":["1","2"]}\n' "$(printf 'very %.0s' $(seq 3000))long" >"$T/long.jsonl"
run "$rlaif" hybrid --candidates "$T/long.jsonl" --labeler tests/vectors/gguf/tiny.gguf --output_dir "$T/long"
exits 1; says "questions got no reply (0 failed, 4 too long"; absent "$T/long/pairs.jsonl"
run "$rlaif" hybrid --candidates "$T/long.jsonl" --labeler tests/vectors/gguf/tiny.gguf --verifier ai --min_coverage 0 --output_dir "$T/long" --json
exits 0; prints '"unchecked": 1'
