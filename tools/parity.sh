#!/bin/bash
# parity.sh RLAIF - compares the program RLAIF with transformers, peft, TRL, llama.cpp and pyarrow; ends with "N passed, N failed".
# The first time it builds a virtual environment in .venv with pip (some minutes: llama.cpp is compiled);
# PARITY_VENV names one that is there already; PARITY_TEMPLATES a folder of further chat templates to compare.  PARITY_RUNS lists run folders to check (default runs/lab-tldr*).
set -eu
cd "$(dirname "$0")/.."
rlaif=$1
venv=${PARITY_VENV:-.venv}
model=models/smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
need="torch transformers peft safetensors tokenizers gguf accelerate pyarrow datasets jinja2 trl"

if [ ! -x "$venv/bin/python" ]; then
    echo "parity: building a virtual environment in $venv"
    python3 -m venv "$venv" || { echo "parity: python3 with venv is needed (Debian: python3-venv)" >&2; exit 1; }
fi
if ! "$venv/bin/python" -c 'import torch, transformers, peft, gguf, accelerate, pyarrow, datasets, trl' 2>/dev/null; then
    "$venv/bin/pip" install -q --prefer-binary $need
fi
if ! "$venv/bin/python" -c 'import llama_cpp' 2>/dev/null; then
    "$venv/bin/pip" install -q --prefer-binary llama-cpp-python ||
        echo "parity: llama-cpp-python could not be built; token ids will not be compared with it" >&2
fi
[ -e "$model" ] || make --no-print-directory smollm2 || true
HF_HUB_OFFLINE=1 TQDM_DISABLE=1 TRANSFORMERS_VERBOSITY=error TOKENIZERS_PARALLELISM=false \
    exec "$venv/bin/python" tools/parity "$rlaif" "$model" ${PARITY_RUNS:-runs/lab-tldr*}
