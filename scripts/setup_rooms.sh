#!/usr/bin/env bash
# Installs what `vidllm rooms` needs beside the Python packages, furniture models and software OpenGL,
# and packs the furniture into the user's cache, which takes minutes the first time.
# Debian and Ubuntu have both as packages; root or sudo is needed only where some are missing.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly PACKAGES=(sweethome3d-furniture libegl1 libegl-mesa0 libgl1-mesa-dri libgl1)

say() { printf 'setup-rooms: %s\n' "$*" >&2; }

missing=()
for package in "${PACKAGES[@]}"; do
  dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
done
if ((${#missing[@]})); then
  command -v apt-get >/dev/null || {
    say "error: no apt-get here; install these by other means: ${missing[*]}"
    exit 1
  }
  privilege=()
  ((EUID == 0)) || privilege=(sudo)
  say "installing ${missing[*]}"
  "${privilege[@]}" apt-get update -qq
  "${privilege[@]}" env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
fi
.venv/bin/python -c 'from vidllm.rooms.studio import prepare_furniture; prepare_furniture()'
say "furniture and OpenGL are ready"
