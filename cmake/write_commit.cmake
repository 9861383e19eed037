# Writes OUTPUT, a header with the version and the commit of SOURCE; touches it only when they changed.
# Runs at every build, so that a report never names an older commit than its program. The record of what ran on a GPU
# (docs/gpu.md) is no source: tests/gpu.sh writes to it while it builds and tests.
find_program(GIT git)
set(commit unknown)
if(GIT AND EXISTS ${SOURCE}/.git)
  set(git ${GIT} --no-optional-locks -C ${SOURCE})
  execute_process(COMMAND ${git} describe --always --abbrev=12 --exclude=*
    OUTPUT_VARIABLE described RESULT_VARIABLE failed ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  execute_process(COMMAND ${git} diff --quiet HEAD -- . :!docs/gpu.md RESULT_VARIABLE changed ERROR_QUIET)
  if(NOT failed)
    set(commit ${described})
    if(changed)
      string(APPEND commit +changes)
    endif()
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "// Which sources this program was built from; written by the build.
#pragma once
namespace dw {
inline constexpr const char* project_version = \"${VERSION}\";
inline constexpr const char* source_commit = \"${commit}\";
}  // namespace dw
")
