#!/usr/bin/env bash
# LiteLLM's proxy from PyPI in a private environment; prints the program's path.
set -euo pipefail
cd "$(dirname "$0")/../.."
venv=$PWD/.cache/bench-litellm
if ! "$venv/bin/litellm" --version >/dev/null 2>&1; then
    python3 -m venv "$venv"
    "$venv/bin/pip" install --quiet --disable-pip-version-check 'litellm[proxy]' >&2
fi
"$venv/bin/pip" list --disable-pip-version-check 2>/dev/null | awk '$1 == "litellm" { print "litellm " $2 > "/dev/stderr" }'
echo "$venv/bin/litellm"
