#!/usr/bin/env bash
# Tries gpu.sh where there is no GPU: its arguments, what a dry run prints, and what it records, with programs that only
# say what they were asked. Usage: check_gpu_script.sh; says what is wrong and fails.
set -euo pipefail
script=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)/gpu.sh
work=$(mktemp -d)
trap 'rm -rf -- "$work"' EXIT

fail() {
  echo "gpu.sh: $*"
  exit 1
}
exit_code() {
  local code=0
  "$@" >"$work/output" 2>&1 || code=$?
  echo "$code"
}
says() { grep -qF -- "$1" "$2" || fail "expected '$1' in: $(cat "$2")"; }

# Wrong arguments.
for arguments in --what "--device gpu" --only "--root /nowhere" "--limit soon" "--rounds 0"; do
  # shellcheck disable=SC2086
  [[ $(exit_code "$script" $arguments) == 2 ]] || fail "'$arguments' should be refused with exit code 2"
done

# A dry run of a checkout names every step and runs nothing.
[[ $(exit_code "$script" --dry-run --out "$work/never") == 0 ]] || fail "a dry run should pass"
for name in configure build tests memcheck racecheck initcheck train-eager train-graph same-bits train-bf16 verify \
  experiment bench-step-wrn-28-10-training-1024 bench-mark bench-bf16 profile-bf16; do
  grep -q "^$name " "$work/output" || fail "a dry run does not name $name"
done
[[ ! -e $work/never ]] || fail "a dry run wrote something"

# A package: programs in bin/, nothing is built, one of them fails.
mkdir -p "$work/package/bin" "$work/package/share/deepwater/tests"
cp "$script" "$work/package/share/deepwater/tests/"
cat >"$work/package/bin/deepwater" <<'PROGRAM'
#!/usr/bin/env bash
case " $* " in
  *" --version "*) echo "deepwater 0.1.0 (0123456789ab)" ;;
  *" --weights "*) echo "half a table"; sleep 60 ;;
  *" prune "*) echo "cannot | prune" >&2; exit 1 ;;
  *" --out "*) while [[ $1 != --out ]]; do shift; done; mkdir -p "$(dirname "$2")"; echo model >"$2"; echo "model: $2" ;;
  *) echo "a table" ;;
esac
PROGRAM
chmod +x "$work/package/bin/deepwater"
for name in deepwater_tests from-scratch bench_step bench_mark; do cp "$work/package/bin/deepwater" "$work/package/bin/$name"; done
package=$work/package/share/deepwater/tests/gpu.sh
record=$work/record.md
printf 'before\n' >"$record"
for _ in 1 2; do
  [[ $(exit_code "$package" --device cpu --limit 2 --out "$work/out" --record "$record") == 1 ]] ||
    fail "a step that fails should give exit code 1: $(cat "$work/output")"
  [[ $(grep -c '^| train-graph | ' "$record") == 1 ]] || fail "each step has one row: $(cat "$record")"
  for name in bench-step-lenet-5-training-256 bench-fp32; do
    [[ $(grep -cFx "**$name**" "$record") == 1 ]] || fail "figures are there once: $(cat "$record")"
  done
  [[ $(grep -cFx '```' "$record") == 6 ]] || fail "three figures have fences: $(cat "$record")"
  [[ $(exit_code "$package" --device cpu --only bench-fp32 --out "$work/out" --record "$record") == 0 ]] ||
    fail "one step alone should pass: $(cat "$work/output")"
done
says 'before' "$record"
says '**failed** (ended after 2 s); half a table' "$record"
says '| 0123456789ab | none (cpu) |' "$record"
# shellcheck disable=SC2016
says '| prune | `deepwater prune --fraction 0.65 OUT/train-marked/model.safetensors OUT/pruned.safetensors` | **failed** (exit code 1); cannot / prune |' "$record"
says 'a table' "$record"
says 'model: OUT/train-marked/model.safetensors' "$record"
grep -qF "$work" "$record" && fail "the record names a folder of this machine: $(cat "$record")"
grep -q '| build |' "$record" && fail "a package is not built"
echo "gpu.sh does what it says"
