#!/bin/bash
# bench.sh RLAIF [flags] - `rlaif bench` beside transformers and llama.cpp, which are built where they are not there
# (PARITY_VENV, LLAMA_BIN: where they are).
set -eu
cd "$(dirname "$0")/.."
rlaif=$1
shift
venv=${PARITY_VENV:-.venv}
if ! "$venv/bin/python" -c 'import torch, transformers' 2>/dev/null; then
    echo "bench: building a virtual environment in $venv"
    python3 -m venv "$venv" || { echo "bench: python3 with venv is needed (Debian: python3-venv)" >&2; exit 1; }
    "$venv/bin/pip" install -q --prefer-binary torch transformers accelerate
fi
llama=$(tools/llama_cpp.sh)
exec "$rlaif" bench --peers "transformers=exec $venv/bin/python tools/peers/hf.py 2>/dev/null" \
    "llama.cpp=exec $venv/bin/python tools/peers/llama_cpp.py $llama" "$@"
