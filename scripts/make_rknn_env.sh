#!/bin/sh
# Makes the RKNN converter's environment (rknn-toolkit2 2.5.0, x86-64 Linux, Python 3.11 or 3.12).
#
#   scripts/make_rknn_env.sh [FOLDER]      default: .venv-rknn beside this repository's Makefile
#
# PYTHON names the interpreter to use. Running it again with the same requirements does nothing.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
folder=${1:-$root/.venv-rknn}
requirements=$root/scripts/rknn-requirements.txt
stamp=$folder/.requirements

if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    echo "rknn-toolkit2 2.5.0 runs on x86-64 Linux only, this is $(uname -s) on $(uname -m)" >&2
    exit 1
fi

python=${PYTHON:-}
if [ -z "$python" ]; then
    for candidate in python3.11 python3.12 python3; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
            python=$candidate
            break
        fi
    done
fi
if [ -z "$python" ]; then
    echo "rknn-toolkit2 2.5.0 needs Python 3.11 or 3.12: name one in PYTHON" >&2
    exit 1
fi

if [ -f "$stamp" ] && cmp -s "$stamp" "$requirements"; then
    echo "$folder is up to date"
    exit 0
fi

"$python" -m venv --clear "$folder"
pip="$folder/bin/python -m pip --quiet --disable-pip-version-check --no-input"
$pip install --no-deps -r "$requirements"
# A CUDA build of torch does not load without the packages it depends on.
if ! "$folder/bin/python" -c 'import torch' 2>/dev/null; then
    $pip install "$(grep '^torch==' "$requirements")"
fi
"$folder/bin/python" -I -c 'from rknn.api import RKNN' >/dev/null
cp "$requirements" "$stamp"
echo "$folder: rknn-toolkit2 $("$folder/bin/python" -I "$root/nas_engine/export/rknn/converter_main.py" --version)"
