# Run by `cmake --install`: puts beside the programs what they link and a foreign machine may lack, everything but
# the C library, with the licences of all of it. CUDA's libraries are opened by the running program, so that none is here.
set(root "$ENV{DESTDIR}${CMAKE_INSTALL_PREFIX}")
file(GLOB programs "${root}/bin/*")
# Those of the build folder know which flavour of OpenBLAS they were linked to.
file(GLOB libraries "${DEEPWATER_LIBRARIES}/libdeepwater*.so")
file(GET_RUNTIME_DEPENDENCIES EXECUTABLES ${programs} LIBRARIES ${libraries}
  RESOLVED_DEPENDENCIES_VAR resolved UNRESOLVED_DEPENDENCIES_VAR unresolved
  PRE_EXCLUDE_REGEXES "^ld-linux" "^lib(c|m|dl|rt|pthread|resolv)\\.so" "^libdeepwater")
if(unresolved)
  message(FATAL_ERROR "libraries that the programs need were not found: ${unresolved}")
endif()

# Header-only or linked statically.
set(packages libcli11-dev nlohmann-json3-dev doctest-dev libstb-dev libthrust-dev)
foreach(library ${resolved})
  file(INSTALL ${library} DESTINATION "${root}/lib" FOLLOW_SYMLINK_CHAIN)
  # Debian's packages may list a file of /usr/lib under /lib.
  file(REAL_PATH ${library} file)
  string(REGEX REPLACE "^/usr" "" alias ${file})
  execute_process(COMMAND dpkg-query --search ${file} ${alias} OUTPUT_VARIABLE owners ERROR_QUIET)
  if(NOT owners MATCHES "^([^:,]+)")
    message(FATAL_ERROR "no package owns ${file}: its licence is not known")
  endif()
  list(APPEND packages ${CMAKE_MATCH_1})
endforeach()
list(REMOVE_DUPLICATES packages)
foreach(package ${packages})
  if(EXISTS /usr/share/doc/${package}/copyright)
    file(REAL_PATH /usr/share/doc/${package}/copyright licence)
    file(INSTALL ${licence} DESTINATION "${root}/share/doc/deepwater/licences" RENAME ${package})
  elseif(NOT package MATCHES "-dev$")
    message(FATAL_ERROR "the licence of ${package} is not at /usr/share/doc/${package}/copyright")
  endif()
endforeach()
