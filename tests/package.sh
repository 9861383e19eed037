#!/usr/bin/env bash
# Runs a package where nothing of ours is installed: in a newer Debian unpacked into a folder, without network; where
# that cannot be had, in an empty root with this machine's C library and a shell. Usage: tests/package.sh TARBALL
# Needs root, or user namespaces.
set -euo pipefail

tarball=$(realpath -- "${1:?usage: tests/package.sh TARBALL}")
suite=${DEEPWATER_FOREIGN_SUITE:-trixie}
most_megabytes=60
work=$(mktemp -d)
root=$work/root
trap 'rm -rf --one-file-system -- "$work"' EXIT

say() { printf 'package: %s\n' "$*"; }
die() {
  say "$@" >&2
  exit 1
}

# A Debian whose packages are only unpacked: seconds, and no cache.
newer_debian() {
  command -v mmdebstrap >/dev/null || return 1
  mmdebstrap --quiet --variant=extract --include=libc6,dash,bash,coreutils "$suite" "$root"
}

# This machine's C library and shell, nothing else.
empty_root() {
  rm -rf -- "$root"
  mkdir -p "$root"/{bin,dev,lib64,proc,tmp}
  local libc
  libc=$(dirname -- "$(ldd /bin/sh | awk '/libc\.so/ {print $3}')")
  mkdir -p "$root/$libc"
  cp -L "$libc"/{libc,libm,libmvec}.so.6 "$libc"/{libdl,libpthread}.so.2 "$libc"/{librt.so.1,libpthread.so.0} \
    "$root/$libc" 2>/dev/null || true
  cp -L /lib64/ld-linux-x86-64.so.2 "$root/lib64/"
  cp -L /bin/sh "$root/bin/sh"
}

user=()
[[ $EUID -eq 0 ]] || user=(--map-root-user)

# inside COMMAND...: in the foreign root, with devices and processes but no network.
inside() {
  # shellcheck disable=SC2016  # $1 and $@ are the inner shell's
  unshare "${user[@]}" --mount --net sh -c 'mount --rbind /proc "$1/proc" && mount --rbind /dev "$1/dev" &&
    root=$1 && shift && exec env -i HOME=/tmp PATH=/usr/sbin:/usr/bin:/sbin:/bin OMP_WAIT_POLICY=passive chroot "$root" "$@"' \
    sh "$root" "$@"
}

megabytes=$(($(stat -c %s -- "$tarball") / 1000000))
[[ $megabytes -lt $most_megabytes ]] || die "the tarball has $megabytes MB, expected less than $most_megabytes"
if ! unshare "${user[@]}" --mount --net true 2>/dev/null; then
  say "skipped: this machine permits no mount namespace; the tarball has $megabytes MB"
  exit 0
fi
if newer_debian; then
  say "in Debian $suite, $(inside /lib64/ld-linux-x86-64.so.2 --version | sed -n 1p)"
else
  empty_root
  say "a newer Debian could not be had: in an empty root with this machine's C library"
fi
mkdir -p "$root/opt/elsewhere"
tar -xJf "$tarball" -C "$root/opt/elsewhere" --strip-components=1
here=/opt/elsewhere/bin

inside $here/deepwater --version
inside $here/deepwater demo --quick --quiet --out /tmp/demo
# What needs no sources and takes seconds; the cases that skip something are named at the end.
inside $here/deepwater_tests --source-file='*kernels_*,*op_gradients*,*cuda/*,*watermark_ownership_*,*program_bad_input*'
inside $here/bench_step --python none --only "lenet-5 training" --rounds 1 --steps 1 --out /tmp/step --quiet
inside $here/bench_mark --weights 100000 --suspect-weights 10000 --keys 2 --rounds 1 --out /tmp/mark --quiet
inside $here/deepwater bench --filter 'lenet|^sgd|^verify/wrn-10-1' --min-time 0.01 --quiet

# The kernels for processors with AVX-512 use its registers, and those for others do not.
kernels=$root/opt/elsewhere/lib
wide() { objdump -d -- "$1" | grep -c '%zmm' || true; }
if command -v objdump >/dev/null; then
  [[ $(wide "$kernels/glibc-hwcaps/x86-64-v4/libdeepwater_cpu.so") -gt 1000 ]] || die "the kernels for AVX-512 do not use it"
  [[ $(wide "$kernels/libdeepwater_cpu.so") -eq 0 ]] || die "the kernels for processors without AVX-512 use it"
else
  say "skipped: which registers the kernels use (no objdump here)"
fi

# The same kernels for processors without AVX-512.
rm -r "$root/opt/elsewhere/lib/glibc-hwcaps"
inside $here/deepwater_tests --source-file='*kernels_cpu_*,*kernels_bodies_*'

# A processor below the baseline is told so.
if command -v qemu-x86_64 >/dev/null; then
  status=0
  message=$(qemu-x86_64 -cpu Nehalem -L "$root" "$root$here/deepwater" --version 2>&1) || status=$?
  [[ $status -eq 1 && $message == "deepwater: this build needs a processor"* && $message != *$'\n'* ]] ||
    die "on an old processor expected one line and exit code 1, found $status: $message"
  say "an old processor is told: $message"
else
  say "skipped: an old processor (no qemu-x86_64 here)"
fi
