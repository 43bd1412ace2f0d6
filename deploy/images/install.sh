#!/bin/sh
# Install xpscale from this repository into a new virtual environment: for developers, for CI, and
# in the images.
#     sh deploy/images/install.sh FOLDER develop      # with what tests need, at tested versions
#     sh deploy/images/install.sh FOLDER cpu          # what a cluster needs, every file by its hash
#     sh deploy/images/install.sh FOLDER cuda         # the same with torch for NVIDIA's GPUs
# TORCH_INDEX is the address of PyTorch's wheels without CUDA, where pip is not set up for them.
set -eu
folder=$1
kind=$2
root=$(cd "$(dirname "$0")/../.." && pwd)
pip="$folder/bin/python -m pip install --quiet --disable-pip-version-check"
torch="$pip ${TORCH_INDEX:+--extra-index-url $TORCH_INDEX}"
"${PYTHON:-python3}" -m venv "$folder"
if [ "$kind" = develop ]; then
    # torch first, from pip, which knows where its CPU build is; uv then resolves the rest in seconds
    $torch uv "$(grep '^torch==' "$root/constraints.txt")"
    # bytecode is compiled and kept: the tests start hundreds of processes
    "$folder/bin/uv" pip install --quiet --python "$folder/bin/python" \
        --constraint "$root/constraints.txt" --compile-bytecode --editable "$root[test]"
else
    # torch's own index is asked for torch only: --no-deps, and apart from the rest
    $torch --no-deps --require-hashes -r "$root/deploy/images/torch-$kind.txt" || {
        echo "install.sh: no torch for '$kind': see TORCH_INDEX in deploy/README.md" >&2
        exit 1
    }
    $pip --no-deps --require-hashes -r "$root/deploy/images/requirements.txt"
    $pip --no-deps --no-build-isolation --no-index "$root"
fi
