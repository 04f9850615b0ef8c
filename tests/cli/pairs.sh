#!/bin/bash
# pairs: which candidates meet, parts, provenance through to labels; and completions of an endpoint, bought once.
. "$(dirname "$0")/kit.sh"
export RLAIF_THREADS=1
tiny=tests/vectors/gguf/tiny.gguf
pairs() { run "$rlaif" pairs --json "$@"; }

for i in $(seq 60); do
    echo "{\"id\":\"p$i\",\"prompt\":\"question $i\",\"completions\":[\"a$i\",\"b$i\",\"a$i\",\"c$i\",\"d$i\"],\"scores\":[0.1,0.9,0.1,0.5,0.$((i % 9))],\"model\":\"student\"}"
done >"$T/s.jsonl"
for i in $(seq 0 5 60); do echo "{\"prompt\":\"question $i\",\"completion\":\"teacher says $i\",\"generator\":\"teacher\"}"; done >"$T/t.jsonl"
echo '{"prompt":"question 5","completion":"b5","generator":"teacher"}' >>"$T/t.jsonl"
echo '{"prompt":"no answer"}' >>"$T/t.jsonl"

claim every_two_different_answers_meet
pairs --candidates "$T/s.jsonl" --pairing all --output_dir "$T/all"
exits 0; prints '"pairs": 360'; prints '"duplicates": 60'; prints '"prompts": 60'
check [ "$(sort -u "$T/all/pairs.jsonl" | wc -l)" = 360 ]
pairs --candidates "$T/s.jsonl" --pairing all --max_pairs_per_prompt 2 --output_dir "$T/two"; exits 0; prints '"pairs": 120'
pairs --candidates "$T/s.jsonl" --output_dir "$T/random"; exits 0; prints '"pairs": 120'
pairs --candidates "$T/s.jsonl" --output_dir "$T/again"; same "$T/random/pairs.jsonl" "$T/again/pairs.jsonl"
pairs --candidates "$T/s.jsonl" --seed 2 --output_dir "$T/again"; check [ "$(cmp "$T/random/pairs.jsonl" "$T/again/pairs.jsonl" | wc -l)" = 1 ]

claim the_best_meets_the_worst_by_score
pairs --candidates "$T/s.jsonl" --pairing best_worst --max_pairs_per_prompt 1 --min_margin 0.5 --output_dir "$T/bw"
exits 0; prints '"pairs": 60'
check [ "$(grep -c '"chosen": "b' "$T/bw/pairs.jsonl")" = 60 ]
for key in score_chosen score_rejected margin sources; do check [ "$(grep -c "\"$key\":" "$T/bw/pairs.jsonl")" = 60 ]; done
sed 's/,"scores":[^]]*]//' "$T/s.jsonl" >"$T/bare.jsonl"
pairs --candidates "$T/bare.jsonl" --pairing best_worst --output_dir "$T/x"; exits 1; says "240 without a score"

claim a_student_s_samples_meet_a_teacher_s_answers
pairs --candidates "$T/s.jsonl,$T/t.jsonl" --pairing a_vs_b --output_dir "$T/ab"
exits 0; prints '"pairs": 51'; prints '"identical": 1'; prints '"rejected": 1'     # 12 prompts by 4, and prompt 5 twice
check [ "$(grep -c '"model": "student"}, {.*"model": "teacher"}' "$T/ab/pairs.jsonl")" = 51 ]
check grep -q "neither 'completions' nor 'completion'" "$T/ab/rejected.jsonl"
pairs --candidates "$T/s.jsonl" --pairing a_vs_b --output_dir "$T/x"; exits 2; says "a_vs_b pairs those of two"

claim parts_share_no_prompt
pairs --candidates "$T/s.jsonl" --parts train=0.6,calibration=0.2,test=0.2 --output_dir "$T/parts"; exits 0; prints '"pairs": 120'
check [ "$(cat "$T"/parts/{train,calibration,test}.jsonl | wc -l)" = 120 ]
q() { grep -o 'question [0-9]*' "$T/parts/$1.jsonl" | sort -u; }
check [ -z "$(comm -12 <(q train) <(q test))$(comm -12 <(q train) <(q calibration))" ]

claim where_a_text_came_from_stays_with_its_label
run "$rlaif" label --labeler $tiny --task harmless --preamble x --min_label_mass 0 --input "$T/ab/pairs.jsonl" --output_dir "$T/l"
exits 0; check [ "$(grep -c '"chosen_from": {.*"rejected_from": {' "$T/l/pairs.jsonl")" = 51 ]
check [ "$(grep -c '"first_from": {.*"model": "student"}, "second_from"' "$T/l/labels.jsonl")" = 51 ]

claim labels_near_even_can_be_left_out
for p in 0.5 0.7 0.9; do echo "{\"prompt\":\"x $p\",\"chosen\":\"a\",\"rejected\":\"b\",\"label_prob\":$p}"; done >"$T/p.jsonl"
run "$rlaif" split --input "$T/p.jsonl" --parts all=1 --min_confidence 0.7 --output_dir "$T/conf" --json; exits 0; prints '"all": 2'

claim an_endpoint_s_completions_are_bought_once
mkdir "$T/server"; printf 'kind openai\nmodel judge\n' >"$T/server/setup"; : >"$T/server/faults"
"$build/tests/judge" "$T/server" & server=$!
for i in $(seq 100); do [ -s "$T/server/port" ] && break; sleep 0.1; done
generate() { run "$rlaif" generate -m "http://127.0.0.1:$(cat "$T/server/port")/v1#judge" --input "$T/q.jsonl" --num_return_sequences 2 --json "$@"; }
printf '{"prompt":"one {{say first}}"}\n{"prompt":[{"role":"user","content":"two {{say second}}"}]}\n{"prompt":"{{refuse}} three"}\n' >"$T/q.jsonl"
generate --output "$T/g.jsonl"
exits 0; prints '"prompts": 2'; prints '"rejected": 1'; prints '"replies_computed": 6'
check [ "$(grep -c '"completions": \["first", "first"\]' "$T/g.jsonl")" = 1 ]
check [ "$(grep -c '"model": ' "$T/g.jsonl")" = 2 ]
check grep -q "completion 1: refused" "$T/g.rejected.jsonl"
cp "$T/g.jsonl" "$T/g1.jsonl"
generate --output "$T/g.jsonl"; exits 0; prints '"replies_computed": 0'; same "$T/g.jsonl" "$T/g1.jsonl"
kill $server
