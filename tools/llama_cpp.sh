#!/bin/bash
# llama_cpp.sh - prints a folder that holds llama-server and llama-batched-bench of llama.cpp.
# LLAMA_BIN names one that is there; else they are compiled once (some minutes) into .llama, from the source
# archive of llama-cpp-python, which pip fetches.
set -eu
cd "$(dirname "$0")/.."
bin=${LLAMA_BIN:-$PWD/.llama/bin}
if [ -x "$bin/llama-server" ] && [ -x "$bin/llama-batched-bench" ]; then
    echo "$bin"
    exit 0
fi
[ -z "${LLAMA_BIN:-}" ] || { echo "llama_cpp: LLAMA_BIN=$LLAMA_BIN holds no llama-server and llama-batched-bench" >&2; exit 1; }
for tool in cmake g++ python3; do
    command -v $tool >/dev/null || { echo "llama_cpp: $tool is needed to compile llama.cpp (Debian: cmake g++ python3-pip)" >&2; exit 1; }
done
echo "llama_cpp: compiling llama.cpp into .llama" >&2
tmp=$(mktemp -d); trap 'rm -rf "$tmp"' EXIT
python3 -m pip download -q --no-deps --no-binary llama-cpp-python -d "$tmp" llama-cpp-python==0.3.36 >&2
tar xzf "$tmp"/llama_cpp_python-*.tar.gz -C "$tmp"
cmake -S "$tmp"/llama_cpp_python-*/vendor/llama.cpp -B "$tmp/build" -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DBUILD_SHARED_LIBS=OFF \
    -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=ON >"$tmp/log" 2>&1 ||
    { tail -5 "$tmp/log" >&2; exit 1; }
cmake --build "$tmp/build" -j"$(nproc)" --target llama-server llama-batched-bench >>"$tmp/log" 2>&1 || { tail -5 "$tmp/log" >&2; exit 1; }
mkdir -p .llama/bin
cp "$tmp/build/bin/llama-server" "$tmp/build/bin/llama-batched-bench" .llama/bin/
echo "$bin"
