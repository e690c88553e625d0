#!/usr/bin/env bash
# python.sh ARM TESTS...: builds the extension for aarch64 with the host's Cython and runs tests under qemu (cortex-a72).
set -euo pipefail
arm=$1
shift
py=$PWD/.venv/bin/python
[ "$($py -c 'import sys; print(sys.version_info[:2] == (3, 11))')" = True ] || {
    echo "test-arm: the Python tests are cross-built for Python 3.11 and need it on the host; skipped"; exit 0; }
site=$arm/site
if [ ! -e "$site/.done" ]; then
    tags=$(printf -- '--platform %s ' manylinux2014_aarch64 manylinux_2_17_aarch64 manylinux_2_26_aarch64 manylinux_2_27_aarch64 manylinux_2_28_aarch64)
    $py -m pip --quiet --disable-pip-version-check install --target "$site" --python-version 3.11 --implementation cp \
        --abi cp311 --abi abi3 --abi none $tags --only-binary=:all: \
        numpy safetensors Pillow tqdm click pytest hypothesis
    touch "$site/.done"
fi
mkdir -p "$arm/sysconfig" "$arm/include"
cp "$arm"/sysroot/usr/lib/python3.11/_sysconfigdata__aarch64-linux-gnu.py "$arm/sysconfig/"
cp -r "$arm"/sysroot/usr/include/python3.11 "$arm/include/"
cp -r "$arm"/sysroot/usr/include/aarch64-linux-gnu "$arm/include/" 2>/dev/null || true
rm -rf "$arm/tree" && mkdir "$arm/tree"
git ls-files -z edgecnn kernels tests setup.py pyproject.toml README.md tools | xargs -0 cp --parents -t "$arm/tree"
(
    cd "$arm/tree"
    export _PYTHON_HOST_PLATFORM=linux-aarch64 _PYTHON_SYSCONFIGDATA_NAME=_sysconfigdata__aarch64-linux-gnu
    export PYTHONPATH=$arm/sysconfig CC=aarch64-linux-gnu-gcc LDSHARED="aarch64-linux-gnu-gcc -shared"
    export CFLAGS="-march=armv8-a -I$arm/include/python3.11 -I$arm/include"
    $py setup.py -q build_ext --inplace
)
cd "$arm/tree"
qemu-aarch64 -cpu cortex-a72 -L "$arm/sysroot" -E PYTHONPATH="$site:$arm/tree" \
    "$arm/sysroot/usr/bin/python3.11" -m pytest -q -p no:cacheprovider -m "not native" "$@"
