#!/usr/bin/env bash
# Makes the environment of one checkout: system libraries that off-screen rendering needs, then exactly the locked
# packages, each checked against its hash; whatever else was in the environment goes.
# With UV_FIND_LINKS or PIP_FIND_LINKS naming a folder that holds a CPU build of the locked torch, that build is taken;
# elsewhere the registry's build comes, which on Linux brings CUDA.
set -euo pipefail
PATH=$PATH:/sbin:/usr/sbin  # where ldconfig is, which a user of Debian does not have there
python=$1
venv=$2

missing=()
for library in libEGL.so.1 libGL.so.1 libGLU.so.1 libglib-2.0.so.0; do
    ldconfig -p | grep -q "$library" || missing+=("$library")
done
if [ ${#missing[@]} -gt 0 ]; then
    packages="libegl1 libgl1 libglu1-mesa libgl1-mesa-dri libglib2.0-0"
    if ! command -v apt-get >/dev/null; then
        echo "missing system libraries: ${missing[*]}. Install your system's packages for EGL, OpenGL, GLU and GLib." >&2
        exit 3
    fi
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null || { echo "missing ${missing[*]}: as root, run apt-get install $packages" >&2; exit 3; }
        as_root="sudo"
    fi
    echo "installing system libraries for off-screen rendering: $packages"
    $as_root apt-get update -qq
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install -y -qq --no-install-recommends $packages >/dev/null
fi

command -v "$python" >/dev/null || { echo "there is no $python here: install it, or name one: make PYTHON=..." >&2; exit 3; }
[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv==0.13.9

torch=requirements-torch.lock
version=$(sed -nE 's/^torch==([0-9.]+).*/\1/p' requirements-torch.lock)
tag=cp$("$venv/bin/python" -c 'import sys; print("%d%d" % sys.version_info[:2])')
build=""
for folder in ${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}; do
    build=${build:-$(compgen -G "$folder/torch-$version+cpu-$tag-*_$(uname -m).whl" | head -n 1 || true)}
done
if [ -n "$build" ]; then
    torch=$venv/torch.txt
    echo "torch @ file://$(realpath "$build") --hash=sha256:$(sha256sum "$build" | cut -d ' ' -f 1)" >"$torch"
fi
echo "installing the locked packages into $venv, torch from ${build:-the registry}"
# Bytecode is compiled here, once: where Python may not write it, every process would compile what it imports again.
"$venv/bin/uv" pip sync --quiet --python "$venv/bin/python" --require-hashes --compile-bytecode requirements.lock "$torch"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --editable .
