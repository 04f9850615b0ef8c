#!/bin/bash
# The example of every --help works as typed after `make demo`.  They run in a folder that looks like a checkout whose
# demo was run, made by the demo's own recipe in small.
. "$(dirname "$0")/kit.sh"
. tests/tiny.sh
if ! tiny_ready; then skip help_examples "models/s and models/l are not here (make lab-models)"; exit 0; fi
mkdir "$T/checkout" "$T/bin"
ln -s "$root"/{models,examples,recipes,README.md} "$T/checkout/"
ln -s "$rlaif" "$T/bin/rlaif"
PATH=$T/bin:$PATH
cd "$T/checkout" || exit 1

claim the_demo_s_recipe_runs_in_small
run tiny runs/lab-tldr; exits 0; present runs/lab-tldr/rl/model.safetensors

commands=$(rlaif help | awk '/^usage/ { on = 1 } on && /^  [a-z]/ { print $1 }')
check [ "$(echo "$commands" | wc -w)" -ge 10 ]
for c in $commands; do
    [ "$c" = run ] && continue      # its example is the recipe above, in full
    [ "$c" = pull ] && { skip the_example_of_pull_works_as_typed "it downloads"; continue; }
    claim "the_example_of_${c}_works_as_typed"
    example=$(rlaif "$c" --help | sed -n '/^example:/,$p' | sed 1d)
    check [ -n "$example" ]
    rm -rf runs/try                 # each alone, as the first thing somebody types
    run bash -c "$example"
    kit_last=$example
    exits 0
done

claim the_example_program_labels_a_pair
run "$build/examples/label_pair" models/l "Anna found a dog in the rain and took it home." "Anna took a dog home." "It rained."
exits 0; prints "Preferred Summary="
check awk '/^shown/ { sum += $NF; n++ } /^mean/ { mean = $NF }
    END { d = sum / 2 - mean; exit !(n == 2 && d < 2e-4 && d > -2e-4) }' "$OUT"
run "$build/examples/label_pair" models/none a b c; exits 1; says "models/none"
run "$build/examples/label_pair"; exits 2; says usage
