#!/usr/bin/env bash
# Builds llama.cpp for this machine from the source in PyPI's llama-cpp-python, into
# .cache/bench/llama.cpp: llama-bench, llama-batched-bench and llama-server. Prints the folder.
set -euo pipefail
cd "$(dirname "$0")/../.."
version=0.3.36
home="$PWD/.cache/bench/llama.cpp"
if [ -x "$home/bin/llama-server" ] && [ "$(cat "$home/version" 2>/dev/null)" = "$version" ]; then
    echo "$home/bin"
    exit 0
fi
venv="$PWD/.cache/bench/build-venv"
mkdir -p "$home"
[ -x "$venv/bin/cmake" ] && [ -x "$venv/bin/ninja" ] || {
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check cmake ninja
} >&2
{
    rm -rf "$home/source" "$home/build"
    mkdir -p "$home/source"
    "$venv/bin/pip" download --quiet --disable-pip-version-check --no-binary llama-cpp-python --no-deps \
        --dest "$home/sdist" "llama-cpp-python==$version"
    tar -xzf "$home"/sdist/llama_cpp_python-"$version".tar.gz -C "$home/source" --strip-components=1
    export PATH="$venv/bin:$PATH"
    nice cmake -S "$home/source/vendor/llama.cpp" -B "$home/build" -G Ninja \
        -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DGGML_OPENMP=ON -DBUILD_SHARED_LIBS=OFF \
        -DLLAMA_CURL=OFF -DLLAMA_OPENSSL=OFF -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF
    nice cmake --build "$home/build" --target llama-bench llama-batched-bench llama-server
} >"$home/build.log" 2>&1 || { tail -30 "$home/build.log" >&2; exit 1; }
mkdir -p "$home/bin"
cp "$home"/build/bin/llama-{bench,batched-bench,server} "$home/bin/"
echo "$version" >"$home/version"
rm -rf "$home/build" "$home/source" "$home/sdist"
echo "$home/bin"
