#!/usr/bin/env bash
# Generates the Python modules and stubs of protos/ into dagorama/. With --check it changes nothing and fails when what
# is committed differs from what would be generated.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-.venv/bin/python}
out=.
if [ "${1:-}" = --check ]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi
PATH="$(cd "$(dirname "$python")" && pwd):$PATH" "$python" -m grpc_tools.protoc --proto_path=protos \
  --python_out="$out" --grpc_python_out="$out" --mypy_out="quiet:$out" --mypy_grpc_out="quiet:$out" \
  protos/dagorama/*/*.proto
if [ "$out" != . ]; then
  status=0
  while IFS= read -r file; do
    cmp -s "$out/$file" "$file" || { echo "$file is not what protos/ generates: run 'make proto' and commit it" >&2; status=1; }
  done < <(cd "$out" && find . -name '*_pb2*' | sort)
  exit $status
fi
