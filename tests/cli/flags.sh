#!/bin/bash
# Wrong usage: exit code 2, one sentence, the nearest right word.
. "$(dirname "$0")/kit.sh"

claim help_lists_the_commands
run "$rlaif" help; exits 0; prints "usage: rlaif COMMAND"; prints "sft"; prints "label"; prints "run"
run "$rlaif"; exits 2; says "usage: rlaif COMMAND"

claim every_command_has_help_with_an_example
commands=$("$rlaif" help | sed -n 's/^  \([a-z_]*\)  .*/\1/p')
for c in $commands; do
    run "$rlaif" "$c" --help; exits 0; prints "example"; prints "rlaif $c"
done
check [ "$(echo "$commands" | wc -w)" -ge 10 ]

claim the_readme_s_tables_are_those_of_the_program
check tools/tables.sh "$rlaif" --check
run "$rlaif" families --json; exits 0; prints '"model_type": "llama"'

claim an_unknown_command_is_named_with_its_nearest
run "$rlaif" lable; exits 2; says "lable"; says "did you mean 'label'"

claim an_unknown_flag_is_named_with_its_nearest
run "$rlaif" sft --learning_rte 1; exits 2; says "learning_rte"; says "learning_rate"
run "$rlaif" run recipes/lab-tldr.yaml --ouptut_dir x; exits 2; says "--output_dir"

claim a_flag_without_its_value_and_a_missing_flag_are_named
run "$rlaif" sft --model_name_or_path; exits 2; says "model_name_or_path"
run "$rlaif" sft; exits 2; says "model_name_or_path"

claim a_value_of_the_wrong_type_is_named
run "$rlaif" sft -m models/s --dataset_name x --output_dir "$T/o" --max_steps many; exits 2; says "max_steps"; says "many"

claim an_unknown_recipe_key_is_named_with_its_nearest
sed 's/  sft:/  sft:\n    learning_rte: 1/' recipes/lab-tldr.yaml >"$T/r.yaml"
run "$rlaif" run "$T/r.yaml" --output_dir "$T/out"; exits 2; says "learning_rte"; says "learning_rate"; absent "$T/out/world"
run "$rlaif" run recipes/lab-tldr.yaml --output_dir "$T/out" --set sft.learnin_rate=1; exits 2; says "learning_rate"
run "$rlaif" run recipes/lab-tldr.yaml --output_dir "$T/out" --set sead=2; exits 2; says "sead"; says "seed"

claim an_unknown_stage_is_named_with_its_nearest
sed 's/stage: reward/stage: rewrad/' recipes/lab-tldr.yaml >"$T/r.yaml"
run "$rlaif" run "$T/r.yaml" --output_dir "$T/out"; exits 2; says "rewrad"; says "reward"

claim a_broken_recipe_is_named_with_its_line
printf 'output_dir: x\nstages: [\n' >"$T/r.yaml"
run "$rlaif" run "$T/r.yaml"; exits 1; says "r.yaml"; says "line"
run "$rlaif" run "$T/absent.yaml"; exits 1; says "absent.yaml"
: >"$T/r.yaml"
run "$rlaif" run "$T/r.yaml"; exits 1; says "empty"

claim a_result_that_cannot_be_printed_is_a_failure
if [ -e /dev/full ]; then
    "$rlaif" tokenize --help >/dev/null 2>&1
    "$rlaif" lab --output_dir "$T/w" --sft_prompts 2 --train_prompts 2 --eval_prompts 2 --json >/dev/full 2>"$ERR"; rc=$?
    exits 1; says "standard output"
fi

claim json_numbers_have_no_more_digits_than_they_need
mkdir -p "$T/run/stages"
echo '{"x": 0.1, "y": 0.30000000000000004}' >"$T/run/summary.json"
run "$rlaif" inspect "$T/run" --json; exits 0; prints '"x": 0.1,'; prints '"y": 0.30000000000000004'
