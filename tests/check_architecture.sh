#!/usr/bin/env bash
# Keeps the folder map true: a folder includes only the folders below it, files stay short enough to read, and no
# banner comments. Usage: check_architecture.sh [ROOT]; prints every offence and fails when there is one.
set -euo pipefail
cd -- "${1:-$(dirname -- "${BASH_SOURCE[0]}")/..}"
longest=450

declare -A allowed=(
  [kernels]="kernels"
  [core]="core kernels"
  [layers]="layers core kernels"
  [watermark]="watermark layers core kernels"
  [datasets]="datasets core kernels"
  [experiments]="experiments watermark datasets layers core kernels"
  [tests]="tests experiments watermark datasets layers core kernels"
)
failed=0

for folder in "${!allowed[@]}"; do
  [[ -d $folder ]] || continue
  mapfile -d '' -t files < <(find "$folder" -type f \( -name '*.h' -o -name '*.hpp' -o -name '*.cpp' -o -name '*.cu' \
    -o -name '*.cuh' -o -name '*.sh' -o -name '*.py' -o -name '*.cmake' \) -print0 | sort -z)
  [[ ${#files[@]} -gt 0 ]] || continue
  awk -v folder="$folder" -v allowed=" ${allowed[$folder]} " -v longest="$longest" '
    function offence(text) {
      print FILENAME ":" FNR ": " text
      failed = 1
    }
    FNR == longest + 1 { offence("longer than " longest " lines") }
    FILENAME !~ /\.(h|hpp|cpp|cu|cuh)$/ { next }
    /^[ \t]*#[ \t]*include[ \t]*["<]/ {
      split($0, parts, /["<>]/)
      top = parts[2]
      slash = sub(/\/.*/, "", top)
      quoted = $0 ~ /"/
      ours = top ~ /^(kernels|core|layers|watermark|datasets|experiments|tests)$/ && slash
      if (ours && index(allowed, " " top " ") == 0) offence(folder " must not include " top)
      else if (quoted && !ours) offence("includes are rooted at the repository: " parts[2])
    }
    /^[ \t]*(\/\/|\/\*|\*)?[ \t\/*]*(=====|-----|#####|\*\*\*\*\*|─────|═════)/ { offence("a banner") }
    END { exit failed }
  ' "${files[@]}" || failed=1
done
exit "$failed"
