#!/usr/bin/env bash
# qemu.sh ARM ARGUMENTS...: the target's Python on a cortex-a72, in the folder ARM/tree that python.sh has built. ARM must be
# absolute. QEMU_PLUGIN, if set, is a plug-in of qemu with its arguments.
set -euo pipefail
arm=$1
shift
python=$(echo "$arm"/sysroot/usr/bin/python3.*)
cd "$arm/tree"
exec qemu-aarch64 -cpu cortex-a72 ${QEMU_PLUGIN:+-plugin "$QEMU_PLUGIN"} -L "$arm/sysroot" \
    -E PYTHONPATH="$arm/tree:$arm/site${python##*/python}:$arm/onnxruntime" "$python" "$@"
