# tiny.sh - the demo's recipe, small enough for tests: every stage in a few seconds.  Sourced; $rlaif is the program.
#
# The models are the lab's, or those that LAB_S and LAB_L name.  One thread: on models this small a second one
# gains little, and on a busy machine it costs much.
export RLAIF_THREADS=${RLAIF_THREADS:-1}
lab_s=${LAB_S:-models/s} lab_l=${LAB_L:-models/l} lab_recipe=${LAB_RECIPE:-recipes/lab-tldr.yaml}
tiny_sets=(policy="$lab_s" labeler="$lab_l"
           world.sft_prompts=48 world.train_prompts=24 world.eval_prompts=16
           sft.max_steps=8 sft.save_steps=3 sft.per_device_train_batch_size=8
           reward.max_steps=6 reward.save_steps=2 reward.per_device_train_batch_size=4
           rl.max_steps=4 rl.save_steps=1 rl.per_device_train_batch_size=8)

# tiny OUTPUT_DIR [FLAG...] - the models it needs must be there: tiny_ready says so.  In the background, tiny_exec: $! is
# then the program itself, which can be sent signals.
tiny() (tiny_exec "$@")
tiny_exec() {
    local out=$1
    shift
    exec "$rlaif" run "$lab_recipe" --set "${tiny_sets[@]}" --output_dir "$out" --quiet "$@"
}
tiny_ready() { [ -f "$lab_s/model.safetensors" ] && [ -f "$lab_l/model.safetensors" ]; }
