# Writes OUTPUT, a header with the version and the commit of SOURCE; touches it only when they changed.
# Runs at every build, so that a report never names an older commit than its program.
find_program(GIT git)
set(commit unknown)
if(GIT AND EXISTS ${SOURCE}/.git)
  execute_process(COMMAND ${GIT} --no-optional-locks -C ${SOURCE} describe --always --abbrev=12 --exclude=* --dirty=+changes
    OUTPUT_VARIABLE described RESULT_VARIABLE failed ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
  if(NOT failed)
    set(commit ${described})
  endif()
endif()
file(CONFIGURE OUTPUT ${OUTPUT} CONTENT "// Which sources this program was built from; written by the build.
#pragma once
namespace dw {
inline constexpr const char* project_version = \"${VERSION}\";
inline constexpr const char* source_commit = \"${commit}\";
}  // namespace dw
")
