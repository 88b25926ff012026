#!/usr/bin/env bash
# The environment of the readers that the feed is measured beside: LeRobot with torchcodec, and Lance in LeRobot.
# Never a dependency. `reader_peers.sh UV FOLDER` does nothing where it is there already.
#
# LeRobot 0.4.4 is the newest that Python 3.11 takes. Lance's reader asks for a LeRobot of Python 3.12, so it is
# installed without what it asks for. torchcodec finds FFmpeg's libraries where PyAV carries them.
set -euo pipefail
uv=$1 folder=$2 ready="$2/ready-1"
[ -e "$ready" ] && exit 0
rm -rf "$folder"
mkdir -p "$(dirname "$folder")"
overrides="$folder.overrides"
printf 'torch==2.13.0\ntorchvision==0.25.0\n' > "$overrides"
links=()
for place in ${PIP_FIND_LINKS:-}; do links+=(--find-links "$place"); done
python="$folder/bin/python"
"$uv" venv --quiet -p 3.11 "$folder"
"$uv" pip install --quiet -p "$python" "${links[@]}" --override "$overrides" lerobot==0.4.4 lancedb==0.40.0 pylance==14.0.2
"$uv" pip install --quiet -p "$python" --no-deps torchcodec==0.13.0 lerobot-lancedb==0.3.1
libraries="$folder/ffmpeg"
mkdir "$libraries"
for library in "$folder"/lib/python3.11/site-packages/av.libs/lib{av,sw}*.so.*; do
  name=$(basename "$library")
  major=${name#*.so.}
  ln -s "$(realpath "$library")" "$libraries/${name%%-*}.so.${major%%.*}"
done
touch "$ready"
