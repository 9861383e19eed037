#!/usr/bin/env bash
# Everything a GPU machine is to be asked: tests, sanitizer, training, benchmarks, an experiment. Each step's result goes
# to the record of docs/gpu.md. Runs in a checkout, which it builds first, and in an unpacked package as it is.
set -uo pipefail

usage() {
  cat <<'HELP'
tests/gpu.sh [OPTION...]

  --dry-run       print every command, run none; needs neither GPU nor build
  --device DEV    cuda (default), or cpu: the same path at small sizes, to test the script itself
  --root DIR      a checkout or an unpacked package; default: where this script lies
  --build DIR     build folder of a checkout; default: ROOT/build
  --skip-build    take a checkout's programs as they are
  --record FILE   file with the record; default: ROOT/docs/gpu.md for a checkout's CUDA run, else OUT/record.md
  --out DIR       folder for logs and models; default: a new one under /tmp
  --python PY     a Python that may have PyTorch, to compare with, and CUDA's libraries as wheels; default: python3
  --only NAME     only steps whose name starts with this, as often as needed
  --limit S       seconds after which a step is ended and has failed; default: 900
  --rounds N      rounds of each benchmark beside PyTorch; default: bench_step's
  --help          this text

Exit code 0: every step passed or could not run here; 1: one failed; 2: wrong arguments. A failed step ends nothing: the
rest still runs. Steps come in the order of what is most worth knowing, and each is recorded when it ends. A machine
without our Debian packages runs an unpacked package: PACKAGE/share/deepwater/tests/gpu.sh --record docs/gpu.md
HELP
}

say() { printf 'gpu.sh: %s\n' "$*" >&2; }
wrong() {
  say "$@"
  exit 2
}

device=cuda root='' build='' record='' out='' python=python3 dry_run=false skip_build=false only=() limit=900 rounds=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --dry-run) dry_run=true ;;
    --skip-build) skip_build=true ;;
    --help | -h)
      usage
      exit 0
      ;;
    --device | --root | --build | --record | --out | --python | --only | --limit | --rounds)
      [[ $# -gt 1 ]] || wrong "$1 expects a value"
      case $1 in
        --device) device=$2 ;;
        --root) root=$2 ;;
        --build) build=$2 ;;
        --record) record=$2 ;;
        --out) out=$2 ;;
        --python) python=$2 ;;
        --only) only+=("$2") ;;
        --limit) limit=$2 ;;
        --rounds) rounds=$2 ;;
      esac
      shift
      ;;
    *) wrong "unknown argument '$1'; see --help" ;;
  esac
  shift
done
[[ $device == cuda || $device == cpu ]] || wrong "--device expects cuda or cpu, found '$device'"
[[ $limit =~ ^[1-9][0-9]*$ ]] || wrong "--limit expects seconds, found '$limit'"
[[ -z $rounds || $rounds =~ ^[1-9][0-9]*$ ]] || wrong "--rounds expects a number, found '$rounds'"

# A package has bin/deepwater at its root; the script may lie some folders below that.
find_root() {
  local folder
  folder=$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")" && pwd -P)
  while [[ $folder != / ]]; do
    if [[ -x $folder/bin/deepwater || -f $folder/CMakeLists.txt && -d $folder/kernels ]]; then
      printf '%s\n' "$folder"
      return
    fi
    folder=$(dirname -- "$folder")
  done
  return 1
}
if [[ -z $root ]]; then root=$(find_root) || wrong "no checkout and no package around this script; see --root"; fi
[[ -d $root ]] || wrong "--root: there is no folder '$root'"
root=$(cd -- "$root" && pwd -P)
checkout=false
[[ -f $root/CMakeLists.txt && ! -x $root/bin/deepwater ]] && checkout=true
if $checkout; then
  build=${build:-$root/build}
  programs=$build tests=$build/tests/deepwater_tests
else
  programs=$root/bin tests=$root/bin/deepwater_tests
fi
if ! $dry_run && [[ -z $out ]]; then out=$(mktemp -d /tmp/deepwater-gpu.XXXXXX); fi
out=${out:-OUT}
if [[ -z $record ]]; then
  if $checkout && [[ $device == cuda ]]; then record=$root/docs/gpu.md; else record=$out/record.md; fi
fi
export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive} GOMP_SPINCOUNT=${GOMP_SPINCOUNT:-10000}
# CUDA's libraries are looked for beside each python3 on the PATH.
if [[ $python == */* ]]; then PATH=$(dirname -- "$python"):$PATH; fi
PATH=$PATH:/usr/local/cuda/bin

failed=0

wanted() {
  [[ ${#only[@]} -eq 0 ]] && return 0
  local name
  for name in "${only[@]}"; do [[ $1 == "$name"* ]] && return 0; done
  return 1
}

# A command as a person would type it, with what differs from machine to machine taken out.
typed() {
  local line='' word
  for word in "$@"; do
    [[ $word =~ ^[A-Za-z0-9_./:=,+@-]+$ ]] || word="'$word'"
    line+="$word "
  done
  line=${line% }
  line=${line//"$programs/"/}
  line=${line//"$tests"/deepwater_tests}
  line=${line//"$root/"/}
  line=${line//"$root"/.}
  line=${line//"$out/"/OUT\/}
  printf '%s' "$line"
}

# The line of one step in the record: step | command | result | date | commit | device.
write_row() {
  local name=$1 command=$2 result=$3 commit gpu row
  commit=$("$programs/deepwater" --version 2>/dev/null | sed -n 's/.*(\(.*\))/\1/p')
  gpu=$(gpu_name)
  row="| $name | \`${command//|/\\|}\` | $result | $(date -u +%F) | ${commit:-unknown} | $gpu |"
  ROW=$row awk -v name="$name" '
    /<!-- record: begin -->/ { inside = 1 }
    /<!-- record: end -->/ { if (inside && !done) print ENVIRON["ROW"]; inside = 0 }
    inside && index($0, "| " name " |") == 1 { print ENVIRON["ROW"]; done = 1; next }
    { print }' "$record" >"$record.new" && mv -- "$record.new" "$record"
}

gpu_name() {
  if [[ $device == cpu ]]; then
    printf 'none (cpu)'
  else
    nvidia-smi --query-gpu=name,driver_version --format=csv,noheader 2>/dev/null | head -n 1 | tr ',' ' ' |
      grep . || printf 'unknown GPU'
  fi
}

# What a step printed, without colours and without the name of this machine's folder.
printed_by() {
  local text
  text=$(sed 's/\x1b\[[0-9;]*m//g' "$out/$1.log")
  printf '%s\n' "${text//"$out/"/OUT/}"
}

# The output of a benchmark, in place of that of an earlier run.
write_figure() {
  local name=$1
  {
    printf '\n**%s**\n```\n' "$name"
    printed_by "$name"
    printf '```\n'
  } >"$out/$name.md"
  awk -v title="**$name**" -v figure="$out/$name.md" '
    /<!-- figures: begin -->/ { inside = 1 }
    /<!-- figures: end -->/ { inside = 0; while ((getline line < figure) > 0) print line }
    inside && $0 == "" { blank = blank $0 "\n"; next }
    inside && $0 == title { skipping = 1; blank = "" }
    !skipping { printf "%s", blank; print }
    { blank = "" }
    skipping && $0 == "```" && ++fences == 2 { skipping = 0; fences = 0 }' "$record" >"$record.new" &&
    mv -- "$record.new" "$record"
}

start_record() {
  mkdir -p -- "$out" "$(dirname -- "$record")"
  [[ -f $record ]] && grep -q '<!-- record: begin -->' "$record" && return
  cat >>"$record" <<'MARKDOWN'
<!-- record: begin -->
| step | command | result | date | commit | device |
|---|---|---|---|---|---|
<!-- record: end -->
<!-- figures: begin -->
<!-- figures: end -->
MARKDOWN
}

# The last line that says something, short enough for a table.
summary_of() {
  printed_by "$1" | grep -v '^[[:space:]]*$' | grep -v '^\[doctest\] Status' | tail -n 1 |
    cut -c 1-160 | tr '|' '/'
}

# step NAME COMMAND...: runs it, keeps its output, records what came of it.
step() {
  local name=$1 code started=$SECONDS
  shift
  wanted "$name" || return 0
  if $dry_run; then
    printf '%-14s %s\n' "$name" "$(typed "$@")"
    return
  fi
  say "$name: $(typed "$@")"
  timeout --kill-after=10 "$limit" "$@" >"$out/$name.log" 2>&1
  code=$?
  local result
  if [[ $code -eq 0 ]]; then
    result="passed in $((SECONDS - started)) s; $(summary_of "$name")"
  else
    local how="exit code $code"
    [[ $code -eq 124 || $code -eq 137 ]] && how="ended after $limit s"
    result="**failed** ($how); $(summary_of "$name")"
    failed=1
    say "$name failed; its output is $out/$name.log"
  fi
  write_row "$name" "$(typed "$@")" "${result%; }"
  return $code
}

# Steps that print figures worth keeping.
measure() {
  step "$@" && ! $dry_run && wanted "$1" && write_figure "$1"
  return 0
}

# has PROGRAM: for a step that this machine or this build may be unable to run.
has() {
  $dry_run || command -v "$1" >/dev/null || {
    say "skipped: there is no $1 here"
    return 1
  }
}

if [[ $device == cpu ]]; then
  data=synthetic:train=256,test=64 epochs=1 batch=32 bench=(--rounds 1 --steps 1) kernels=(--filter '^sgd/77850$')
  mark=(--weights 100000 --pytorch-weights 50000 --suspect-weights 10000 --keys 2 --rounds 1)
  test_cases='training graph*,graph*,bf16*,random*,datasets: batches*,datasets: a captured*'
  network=lenet-5 marked=(--net wrn-10-1 --strength 7)
  problems=('lenet-5 training 256')
else
  data=synthetic:train=8192,test=1024 epochs=3 batch=64 bench=() kernels=()
  mark=(--weights 36000000 --pytorch-weights 36000000)
  test_cases='*'
  network=wrn-10-4 marked=(--net wrn-10-4 --strength 5)
  problems=()
  for name in wrn-10-4 resnet-18 wrn-28-10; do problems+=("$name training 64" "$name training 1024"); done
fi
[[ -n $rounds ]] && bench=(--rounds "$rounds" --starts "$rounds")
kernel_cases='CUDA*,bodies:*,bf16*,datasets: batches*,embedding*'
[[ $device == cpu ]] && kernel_cases='bodies: many tensors*'

$dry_run || start_record

if $checkout && ! $skip_build; then
  cuda=ON
  [[ $device == cpu ]] && cuda=AUTO
  step configure cmake -S "$root" -B "$build" -G Ninja -DCMAKE_BUILD_TYPE=Release -DDEEPWATER_CUDA=$cuda || {
    say "could not configure: ./deepwater.sh build installs what is missing on Debian 12; elsewhere unpack a package"
    exit 1
  }
  step build cmake --build "$build" --parallel "$(nproc)" || exit 1
fi
if ! $dry_run && [[ ! -x $programs/deepwater || ! -x $tests ]]; then
  say "expected programs deepwater and deepwater_tests, found none: $programs/deepwater, $tests"
  exit 1
fi
# Tests skip a GPU that the program cannot use, as with a driver older than CUDA needs, and would be said to have passed.
if [[ $device == cuda ]] && ! $dry_run && ! "$programs/deepwater" bench --list --device cuda >/dev/null; then
  say "the program cannot use a GPU here; --dry-run shows what would run, --device cpu tries it without"
  exit 1
fi

step tests "$tests" --test-case="$test_cases"
train() {
  local name=$1
  shift
  step "$name" "$programs/deepwater" train --data "$data" --epochs "$epochs" --batch "$batch" --seed 1 \
    --device "$device" --out "$out/$name/model.safetensors" "$@"
}
train train-eager --net "$network" --graph off
train train-graph --net "$network" --graph on
step same-bits cmp -- "$out/train-eager/model.safetensors" "$out/train-graph/model.safetensors"
train train-tf32 --net "$network" --precision tf32
train train-bf16 --net "$network" --precision bf16
if wanted keygen && ! $dry_run; then rm -f -- "$out/owner.key" "$out/owner.claim.json"; fi
step keygen "$programs/deepwater" keygen --owner "Deep Water" --bits 128 --out "$out/owner.key"
train train-marked "${marked[@]}" --key "$out/owner.key"
step prune "$programs/deepwater" prune --fraction 0.65 "$out/train-marked/model.safetensors" "$out/pruned.safetensors"
step verify "$programs/deepwater" verify --claim "$out/owner.claim.json" --key "$out/owner.key" \
  "$out/pruned.safetensors"
step experiment "$programs/from-scratch" --preset smoke --device "$device" --out "$out/experiment"

for problem in "${problems[@]}"; do
  measure "bench-step-${problem// /-}" "$programs/bench_step" --device "$device" --python "$python" --only "$problem" \
    --out "$out/bench-step-${problem// /-}" "${bench[@]}"
done
beside=(--python "$python")
$dry_run || "$python" -c 'import torch' 2>/dev/null || beside=()
measure bench-mark "$programs/bench_mark" --device "$device" "${beside[@]}" --out "$out/bench-mark" "${mark[@]}"
for precision in fp32 bf16; do
  [[ $device == cpu && $precision == bf16 ]] && continue
  measure "bench-$precision" "$programs/deepwater" bench --device "$device" --precision "$precision" "${kernels[@]}"
  measure "profile-$precision" "$programs/bench_step" --device "$device" --precision "$precision" --profile \
    --predict h200 --only "${problems[0]}"
done

if has compute-sanitizer; then
  for tool in memcheck racecheck initcheck; do
    # Without the pool each block has its own end and is new; but then nothing can be captured.
    pool=off cases=(--test-case="$kernel_cases" --test-case-exclude='*captur*')
    [[ $tool == racecheck ]] && pool=on cases=(--test-case="$kernel_cases,training graph*")
    # Calls that fail on purpose are no error: the program checks each.
    step "$tool" env DEEPWATER_POOL=$pool compute-sanitizer --tool "$tool" --report-api-errors no \
      --error-exitcode 99 "$tests" "${cases[@]}"
  done
fi

$dry_run && exit 0
say "the record is $record, the logs are in $out"
exit $failed
