#!/usr/bin/env bash
# Makes the environment of one checkout: system libraries that off-screen rendering needs, then every locked package.
# With UV_FIND_LINKS or PIP_FIND_LINKS naming a folder that holds a CPU build of the locked torch, that build is taken;
# elsewhere the registry's build comes, which on Linux brings CUDA.
set -euo pipefail
python=$1
venv=$2

missing=()
for library in libEGL.so.1 libGL.so.1 libGLU.so.1; do
    ldconfig -p | grep -q "$library" || missing+=("$library")
done
if [ ${#missing[@]} -gt 0 ]; then
    packages="libegl1 libgl1 libglu1-mesa libgl1-mesa-dri libglib2.0-0"
    if ! command -v apt-get >/dev/null; then
        echo "missing system libraries: ${missing[*]}. Install your system's packages for EGL, OpenGL and GLU." >&2
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

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check uv==0.13.9
export UV_FIND_LINKS="${UV_FIND_LINKS:-${PIP_FIND_LINKS:-}}"
[ -n "$UV_FIND_LINKS" ] || unset UV_FIND_LINKS
echo "installing the locked packages into $venv"
wheels=()
if compgen -G "${UV_FIND_LINKS:-/nonexistent}/torch-*+cpu-*.whl" >/dev/null; then
    # The CPU build needs none of the CUDA packages that the registry's build of the same version asks for.
    grep -vE '^(nvidia-|cuda-|triton)' requirements.lock | sed -E 's/^(torch==[0-9.]+)$/\1+cpu/' > "$venv/requirements.txt"
    wheels=(--no-deps)
else
    cp requirements.lock "$venv/requirements.txt"
fi
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" "${wheels[@]}" --requirement "$venv/requirements.txt"
"$venv/bin/uv" pip install --quiet --python "$venv/bin/python" --no-deps --editable .
