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
for arguments in --what "--device gpu" --only "--root /nowhere"; do
  # shellcheck disable=SC2086
  [[ $(exit_code "$script" $arguments) == 2 ]] || fail "'$arguments' should be refused with exit code 2"
done

# A dry run of a checkout names every step and runs nothing.
[[ $(exit_code "$script" --dry-run --out "$work/never") == 0 ]] || fail "a dry run should pass"
for name in configure build tests memcheck racecheck initcheck train-eager train-graph same-bits train-bf16 verify \
  experiment bench-step bench; do
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
  *" prune "*) echo "cannot | prune" >&2; exit 1 ;;
  *" --out "*) while [[ $1 != --out ]]; do shift; done; mkdir -p "$(dirname "$2")"; echo model >"$2"; echo trained ;;
  *) echo "a table" ;;
esac
PROGRAM
chmod +x "$work/package/bin/deepwater"
for name in deepwater_tests from-scratch bench_step; do cp "$work/package/bin/deepwater" "$work/package/bin/$name"; done
package=$work/package/share/deepwater/tests/gpu.sh
record=$work/record.md
printf 'before\n' >"$record"
for round in 1 2; do
  [[ $(exit_code "$package" --device cpu --out "$work/out$round" --record "$record") == 1 ]] ||
    fail "a step that fails should give exit code 1: $(cat "$work/output")"
  [[ $(grep -c '^| train-graph | ' "$record") == 1 ]] || fail "each step has one row: $(cat "$record")"
  [[ $(grep -c '^\*\*bench-step\*\*' "$record") == 1 ]] || fail "figures are there once: $(cat "$record")"
done
says 'before' "$record"
says '| 0123456789ab | none (cpu) |' "$record"
# shellcheck disable=SC2016
says '| prune | `deepwater prune --fraction 0.65 OUT/train-marked/model.safetensors OUT/pruned.safetensors` | **failed** (exit code 1); cannot / prune |' "$record"
says 'a table' "$record"
grep -q '| build |' "$record" && fail "a package is not built"
echo "gpu.sh does what it says"
