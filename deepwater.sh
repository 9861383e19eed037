#!/usr/bin/env bash
# Sets up, builds and runs Deep Water on Debian 12. Safe to run again: what is there already is kept.
set -euo pipefail

packages=(g++ cmake ninja-build ccache pkg-config git libdnnl-dev libopenblas-openmp-dev doctest-dev libstb-dev
  ocl-icd-opencl-dev libcli11-dev nlohmann-json3-dev libfmt-dev libsodium-dev libssl-dev libbenchmark-dev
  zlib1g-dev libthrust-dev libboost-context-dev)
root=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
build=$root/build

usage() {
  cat <<'HELP'
./deepwater.sh demo [--data DIR ...]  train a network with a hidden mark, prune it, prove whose it is
./deepwater.sh test [CTEST OPTION...] build, then run every test
./deepwater.sh build                  only set up and build; the program is then build/deepwater
./deepwater.sh package                a tarball that runs on other machines: build-portable/deepwater-*.tar.xz
./deepwater.sh help                   this text

Missing Debian packages are installed first (with sudo where needed). Environment:
  DEEPWATER_CUDA=OFF       build the CPU half only (default: CUDA where a toolkit is found)
  DEEPWATER_NATIVE=OFF     build for other machines too, in build-portable/, as package does
  DEEPWATER_PACKAGES=skip  leave packages alone
HELP
}

# Everything the set-up says goes to stderr: stdout belongs to the program.
say() { printf 'deepwater: %s\n' "$*" >&2; }
die() {
  say "$@"
  exit 1
}

missing_packages() {
  local package
  for package in "${packages[@]}"; do
    grep -qxF "$package install ok installed" <<<"$installed" || printf '%s\n' "$package"
  done
}

as_root() {
  if [[ $EUID -eq 0 ]]; then
    "$@"
  else
    sudo "$@"
  fi
}

apt_install() {
  as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends "$@" >&2
}

# apt-cache names only the packages it can install.
apt_knows() {
  [[ $(LC_ALL=C apt-cache policy "$@" 2>/dev/null | grep -c 'Candidate: [0-9]') -eq $# ]]
}

install_packages() {
  [[ ${DEEPWATER_PACKAGES:-} == skip ]] && return
  if ! command -v apt-get >/dev/null || ! command -v dpkg-query >/dev/null; then
    die "this is not a Debian system. Install these packages' equivalents, then run again with" \
      "DEEPWATER_PACKAGES=skip: ${packages[*]}"
  fi
  local installed missing
  installed=$(dpkg-query -W -f '${binary:Package} ${Status}\n' "${packages[@]}" 2>/dev/null | sed 's/:[^ ]*//' || true)
  mapfile -t missing < <(missing_packages)
  [[ ${#missing[@]} -eq 0 ]] && return
  local by_hand="apt-get install --no-install-recommends ${missing[*]}"
  if [[ $EUID -ne 0 ]] && ! command -v sudo >/dev/null; then
    die "packages are missing and there is no sudo. As root: $by_hand"
  fi
  say "installing Debian packages: ${missing[*]}"
  if apt_knows "${missing[@]}" && apt_install "${missing[@]}"; then return; fi
  # Fresh machines know no packages yet, and old lists name files that have moved.
  as_root apt-get update -q >&2 || say "the package lists could not be refreshed: is there a network?"
  apt_install "${missing[@]}" || die "the packages could not be installed. By hand: $by_hand"
}

# Compilers of CUDA and template-heavy files take up to 1.5 GB each.
build_jobs() {
  local cores memory
  cores=$(nproc)
  memory=$(awk '/^MemAvailable/ {print int($2 / 1500000)}' /proc/meminfo)
  echo $((memory < 1 ? 1 : memory < cores ? memory : cores))
}

build_program() {
  local options=() home=
  if [[ -f $build/CMakeCache.txt ]]; then
    home=$(sed -n 's/^CMAKE_HOME_DIRECTORY:INTERNAL=//p' "$build/CMakeCache.txt")
    # A copied or moved checkout brings a cache that points elsewhere.
    [[ $home == "$root" ]] || options+=(--fresh)
  fi
  [[ $build == "$root/build" || -f $build/CMakeCache.txt ]] || options+=(-DDEEPWATER_NATIVE=OFF)
  if [[ -n ${DEEPWATER_CUDA:-} ]]; then options+=("-DDEEPWATER_CUDA=$DEEPWATER_CUDA"); fi
  if [[ ! -f $build/build.ninja || ${#options[@]} -gt 0 ]]; then
    cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release "${options[@]}" >&2 || die "could not configure"
  fi
  cmake --build "$build" --parallel "$(build_jobs)" >&2 || die "could not build"
}

set_up() {
  install_packages
  build_program
}

# Idle OpenMP threads that spin on slow everything down where cores are shared; those that sleep at once wake too late
# for the next kernel. GNU's runtime spins for some microseconds, others sleep.
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-10000}

command=${1:-help}
[[ $# -gt 0 ]] && shift
if [[ ${DEEPWATER_NATIVE:-ON} == OFF || $command == package ]]; then build=$root/build-portable; fi
case $command in
  demo)
    set_up
    exec "$build/deepwater" demo "$@"
    ;;
  test)
    set_up
    exec ctest --test-dir "$build" --no-tests=error --output-on-failure --parallel "$(nproc)" "$@"
    ;;
  build)
    [[ $# -eq 0 ]] || { say "build takes no arguments, found: $*"; exit 2; }
    set_up
    say "built $build/deepwater"
    ;;
  package)
    [[ $# -eq 0 ]] || { say "package takes no arguments, found: $*"; exit 2; }
    set_up
    rm -f -- "$build"/deepwater-*.tar.xz
    (cd -- "$build" && cpack) >&2 || die "could not package"
    printf '%s\n' "$build"/deepwater-*.tar.xz
    ;;
  help | -h | --help) usage ;;
  *)
    say "unknown command '$command', expected demo, test, build, package or help"
    exit 2
    ;;
esac
