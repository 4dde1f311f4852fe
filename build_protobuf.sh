#!/usr/bin/env bash
# Generates the Python modules and stubs of protos/ into dagorama/. With --check it changes nothing and fails when what
# is committed differs from what would be generated. PYTHON has the plugins for stubs (mypy-protobuf); the compiler of
# protos/requirements.txt goes into an environment of its own in .venv, because it needs an older protobuf.
set -euo pipefail
cd "$(dirname "$0")"
python=${PYTHON:-.venv/bin/python}
compiler=.venv/protoc
out=.
if [ "${1:-}" = --check ]; then
  out=$(mktemp -d)
  trap 'rm -rf "$out"' EXIT
fi

# The first Python that there are wheels of the compiler for.
compiler_python() {
  local candidate
  for candidate in ${PROTOC_PYTHON:-"$python" python3.12 python3.11 "${PYENV_ROOT:-$HOME/.pyenv}"/versions/3.1[12].*/bin/python}; do
    if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "the compiler of protos/requirements.txt needs Python 3.11 or 3.12: install one, or name it in PROTOC_PYTHON" >&2
  return 1
}

if ! cmp -s protos/requirements.txt "$compiler/requirements.txt"; then
  found=$(compiler_python)
  rm -rf "$compiler"
  "$found" -m venv "$compiler"
  "$compiler/bin/python" -m pip install --quiet --quiet --requirement protos/requirements.txt
  cp protos/requirements.txt "$compiler/requirements.txt"
fi

PATH="$(cd "$(dirname "$python")" && pwd):$PATH" "$compiler/bin/python" -W ignore -m grpc_tools.protoc --proto_path=protos \
  --python_out="$out" --grpc_python_out="$out" --mypy_out="quiet:$out" --mypy_grpc_out="quiet:$out" \
  protos/dagorama/*/*.proto
if [ "$out" != . ]; then
  status=0
  while IFS= read -r file; do
    cmp -s "$out/$file" "$file" || { echo "$file is not what protos/ generates: run 'make proto' and commit it" >&2; status=1; }
  done < <(cd "$out" && find . -name '*_pb2*' | sort)
  exit $status
fi
