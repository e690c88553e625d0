#!/usr/bin/env bash
# python.sh ARM: a Python for aarch64 in ARM/sysroot, Debian's of the same version as the host's, and in ARM/tree the tests
# with edgecnn built for it by the host's Python and Cython. Returns 3 if there is no such Python.
set -euo pipefail
arm=$1
py=$PWD/.venv/bin/python
version=$("$py" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
if [ ! -e "$arm/sysroot/.python$version" ]; then
    tools/arm/sysroot.sh "$arm/sysroot" "$version"
fi

site=$arm/site$version
if [ ! -e "$site/.done" ]; then
    platforms=$(printf -- '--platform %s_aarch64 ' manylinux2014 manylinux_2_17 manylinux_2_26 manylinux_2_27 manylinux_2_28)
    "$py" -m pip --quiet --disable-pip-version-check install --target "$site" --upgrade --python-version "$version" \
        --implementation cp --abi "cp${version/./}" --abi abi3 --abi none $platforms --only-binary=:all: \
        numpy safetensors Pillow tqdm click onnx pytest hypothesis
    touch "$site/.done"
fi

# Of the target's files the host's Python may see only the headers and the build settings.
mkdir -p "$arm/settings" "$arm/include" "$arm/objects"
cp "$arm/sysroot/usr/lib/python$version/_sysconfigdata__aarch64-linux-gnu.py" "$arm/settings/"
cp -r "$arm/sysroot/usr/include/python$version" "$arm/include/"
cp -r "$arm/sysroot/usr/include/aarch64-linux-gnu" "$arm/include/"

tree=$arm/tree # a clean copy, in which the wheel takes the place of the sources
rm -rf "$tree" "$arm/dist"
mkdir -p "$tree/build"
ln -s "$arm/objects" "$tree/build/kernels"
git -c safe.directory='*' ls-files -z --cached --others --exclude-standard \
    edgecnn kernels tests tools setup.py pyproject.toml README.md LICENSE \
    | xargs -0 cp --parents --preserve=timestamps -t "$tree"
_PYTHON_HOST_PLATFORM=linux-aarch64 _PYTHON_SYSCONFIGDATA_NAME=_sysconfigdata__aarch64-linux-gnu \
PYTHONPATH=$arm/settings CC=aarch64-linux-gnu-gcc LDSHARED="aarch64-linux-gnu-gcc -shared" \
CFLAGS="-march=armv8-a -I$arm/include/python$version -I$arm/include" \
    "$py" -m pip --quiet --disable-pip-version-check wheel --no-build-isolation --no-deps -w "$arm/dist" "$tree"
ls "$arm"/dist/*.whl
cd "$tree"
rm -rf edgecnn kernels build
"$py" -m zipfile -e "$arm"/dist/*.whl .
