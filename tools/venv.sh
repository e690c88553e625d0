#!/bin/sh
# venv.sh DIR: a virtual environment that can build edgecnn. Says in one line what the machine lacks.
set -eu
dir=$1
python=${PYTHON:-python3}
fail() { echo "edgecnn: $1" >&2; exit 1; }
debian="apt-get install gcc make python3 python3-dev python3-venv"
command -v "$python" >/dev/null || fail "python3 is missing; install it, e.g. $debian"
version=$("$python" -V 2>&1) || fail "$python does not run: $version"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 10))' \
    || fail "$version is too old, Python 3.10 or newer is needed; set PYTHON=/path/to/python3.x"
cc=${CC:-gcc}
command -v "$cc" >/dev/null || fail "the C compiler ($cc) is missing; install it, e.g. $debian"
echo 'int main(void) { return 0; }' | "$cc" -fopenmp -x c - -o /dev/null 2>/dev/null \
    || fail "$cc cannot compile and link a program with -fopenmp; install a complete gcc, e.g. $debian"
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -f "$include/Python.h" ] || fail "Python's headers ($include/Python.h) are missing; install them, e.g. $debian"
"$python" -c 'import ensurepip, venv' 2>/dev/null || fail "Python's venv module is missing; install it, e.g. $debian"
[ -x "$dir/bin/python" ] || "$python" -m venv "$dir"
"$dir/bin/python" -m pip --quiet --disable-pip-version-check install 'setuptools>=77' wheel 'Cython>=3.0' \
    || fail "packages could not be installed into $dir; is there a network? what pip said stands above"
