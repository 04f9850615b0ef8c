"""tools/trl_soft_reward.py against `rlaif reward`: the loss of soft labels, step by step, on one file from one model."""
import json
import os
import subprocess
import sys
import tempfile

BOUND = 1e-5        # of the first step's loss, which is that of the file under the model as it is
BOUND_LATER = 1e-4  # of those after, where AdamW divides by square roots of tiny moments
STEPS = 4
LABELS = [1.0, 0.5, 0.91, 0.73, 0.5001, 0.66, 0.2, 0.0, 0.99, 0.84, 0.58, 1.0]
HERE = os.path.dirname(os.path.abspath(__file__))


def rows():
    for i, p in enumerate(LABELS):
        prompt = f"POST: the old mill by the river was sold to {'the twins ' * (i % 4)}in the spring of {1900 + i}.\n\nTL;DR:"
        yield {"prompt": prompt, "chosen": f" the mill was sold in {1900 + i}." * (1 + i % 2), "rejected": " a river" + " and a mill" * (i % 5),
               "label_prob": p}


def losses(folder):
    with open(os.path.join(folder, "trainer_state.json")) as f:
        return [row["loss"] for row in json.load(f)["log_history"] if "loss" in row]


def check(report, rlaif, folder):
    if not os.path.exists(os.path.join(folder, "model.safetensors")):
        return report.skip("trl_soft_reward", f"no {folder} (make lab-models)")
    with tempfile.TemporaryDirectory() as d:
        data, start, ours, theirs = (os.path.join(d, name) for name in ("pairs.jsonl", "start", "ours", "theirs"))
        with open(data, "w") as f:
            f.writelines(json.dumps(row) + "\n" for row in rows())
        common = ["--dataset_name", data, "--per_device_train_batch_size", str(len(LABELS)), "--learning_rate", "1e-4",
                  "--lr_scheduler_type", "constant", "--logging_steps", "1", "--max_steps", str(STEPS)]
        rlaif.run("reward", "-m", folder, "--dataset_name", data, "--output_dir", start, "--max_steps", "1", "--dtype", "float32")
        rlaif.run("reward", "-m", start, "--output_dir", ours, "--dtype", "float32", "--save_steps", "0", *common)
        r = subprocess.run([sys.executable, os.path.join(HERE, "..", "trl_soft_reward.py"), "--model_name_or_path", start, "--output_dir",
                            theirs, "--save_strategy", "no", "--report_to", "none", "--use_cpu", "--bf16", "false", "--dtype", "float32",
                            "--gradient_checkpointing", "false", *common], capture_output=True, text=True)
        if r.returncode:
            return report.check("trl_soft_reward", False, r.stderr.strip().splitlines()[-1])
        a, b = losses(ours), losses(theirs)
    off = [abs(x - y) / y for x, y in zip(a, b)]
    report.check("trl_soft_reward: the loss of soft labels", len(a) == len(b) == STEPS and off[0] <= BOUND,
                 f"{a[0]:.7f} and {b[0]:.7f}, relative difference {off[0]:.1e} (bound {BOUND:g})")
    report.check("trl_soft_reward: the steps after it", max(off) <= BOUND_LATER and a[-1] < a[0],
                 f"{a[-1]:.7f} and {b[-1]:.7f} after {STEPS}, worst relative difference {max(off):.1e} (bound {BOUND_LATER:g})")
