#!/usr/bin/env bash
# Create .venv with everything Legible needs. A second run is instant: a stamp says what was installed.
#
#   LEGIBLE_PYTHON=python3.12   the interpreter to build with (default: python3, or the newest found)
#   LEGIBLE_TORCH=cpu|cuda      the torch build (default: cuda where nvidia-smi lists a GPU, else cpu)
#   LEGIBLE_VENV=FOLDER         the environment (default: .venv)
#   LEGIBLE_CONSTRAINTS=FILE    the versions (default: constraints.txt)
#   LEGIBLE_EXTRAS=NAMES        the extras (default: dev)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

TORCH_VERSION=2.13.0  # also where the other packages are at their lowest: CPU builds of the lowest torch are rare
VENV=${LEGIBLE_VENV:-.venv}
CONSTRAINTS=${LEGIBLE_CONSTRAINTS:-constraints.txt}
EXTRAS=${LEGIBLE_EXTRAS:-dev}
STAMP=$VENV/.legible-setup

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { printf 'setup: %s\n' "$@" >&2; exit 1; }

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local name
  for name in ${LEGIBLE_PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
    if command -v "$name" >/dev/null 2>&1 && is_new_enough "$name"; then command -v "$name"; return; fi
  done
  fail "no Python 3.11 or newer found (tried ${LEGIBLE_PYTHON:-python3, python3.13, python3.12, python3.11, python})." \
       "Install one, e.g.: sudo apt-get install python3.11 python3.11-venv" \
       "or name it: LEGIBLE_PYTHON=/path/to/python3.11 make setup"
}

choose_torch() {
  if [ -n "${LEGIBLE_TORCH:-}" ]; then echo "$LEGIBLE_TORCH"
  elif command -v nvidia-smi >/dev/null 2>&1 && nvidia-smi -L 2>/dev/null | grep -q GPU; then echo cuda
  else echo cpu
  fi
}

make_venv() {
  local python=$1
  if "$python" -m venv "$VENV" >/dev/null 2>&1; then return; fi
  rm -rf "$VENV"
  if "$python" -m virtualenv --python "$python" "$VENV" >/dev/null 2>&1; then return; fi
  if command -v virtualenv >/dev/null 2>&1 && virtualenv --python "$python" "$VENV" >/dev/null 2>&1; then return; fi
  rm -rf "$VENV"
  # Debian's python3 without python3-venv still makes an empty environment, and any pip can fill it.
  if "$python" -m venv --without-pip "$VENV" >/dev/null 2>&1 \
     && "$python" -m pip --python "$VENV/bin/python" install --quiet pip >/dev/null 2>&1; then return; fi
  rm -rf "$VENV"
  fail "$python cannot make a virtual environment: its venv module is missing." \
       "Type this line, then run the same command again:" \
       "  sudo apt-get install -y python3-venv"
}

install_torch() {
  local pip=("$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -c "$CONSTRAINTS")
  if [ "$1" = cuda ]; then
    # `===` shuts out local builds such as 2.13.0+cpu, which pip would rank higher.
    "${pip[@]}" "torch===$TORCH_VERSION" || fail "the CUDA build of torch $TORCH_VERSION could not be installed (see pip's message above)." \
      "For the CPU build instead: LEGIBLE_TORCH=cpu make setup"
    return
  fi
  case "$(uname -s)-$(uname -m)" in
    Linux-x86_64 | Linux-aarch64) ;;
    *) "${pip[@]}" "torch==$TORCH_VERSION"; return ;;
  esac
  # pip's own configuration may offer the CPU build already (a local file, a mirror): then no other index is asked.
  if "${pip[@]}" "torch==$TORCH_VERSION+cpu" 2>/dev/null; then return; fi
  # uv knows where the CPU builds of torch are kept.
  { "${pip[@]}" uv && "$VENV/bin/uv" pip install --quiet --python "$VENV/bin/python" --torch-backend cpu "torch==$TORCH_VERSION"; } \
    || fail "the CPU build of torch $TORCH_VERSION could not be installed (see the message above)." \
            "Behind a mirror, offer pip a torch-$TORCH_VERSION+cpu wheel, e.g. PIP_FIND_LINKS=FOLDER make setup"
}

[ "$(uname -s)" = Linux ] || [ "$(uname -s)" = Darwin ] || say "untested system $(uname -s); going on"
build=$(choose_torch)
case "$build" in cpu | cuda) ;; *) fail "LEGIBLE_TORCH is '$build', expected cpu or cuda." ;; esac
wanted="$build $(cat pyproject.toml "$CONSTRAINTS" scripts/setup.sh | cksum) $PWD"
if [ -f "$STAMP" ] && [ "$(cat "$STAMP")" = "$wanted" ] && [ -x "$VENV/bin/legible" ]; then exit 0; fi

if [ -x "$VENV/bin/python" ] && is_new_enough "$VENV/bin/python" && "$VENV/bin/python" -m pip --version >/dev/null 2>&1; then
  say "using the $VENV that is there"
else
  python=$(find_python)
  say "creating $VENV with $("$python" --version) ($python)"
  make_venv "$python"
fi
if [ "$build" = cuda ]; then say "an NVIDIA GPU answers: installing torch $TORCH_VERSION, CUDA build"
else say "no NVIDIA GPU: installing torch $TORCH_VERSION, CPU build"; fi
install_torch "$build"
# Under its former name the distribution owns the same files, and would take them along when it goes.
"$VENV/bin/python" -m pip uninstall --quiet --yes legible 2>/dev/null
say "installing legible and its tools"
"$VENV/bin/python" -m pip install --quiet --disable-pip-version-check -c "$CONSTRAINTS" -e ".[$EXTRAS]"
"$VENV/bin/python" -c 'import torch; print("setup: torch", torch.__version__, "CUDA" if torch.version.cuda else "CPU", "build: ready")' >&2
printf '%s' "$wanted" > "$STAMP"
