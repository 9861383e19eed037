# deepwater_folder(NAME link...): the part `deepwater_NAME` of libdeepwater.so, from this folder's sources.
#   *.cpp and the named subfolders   compiled always
#   cuda/*.cpp, *.cu         compiled where CUDA is built
#   cpu/*.cpp, bodies/*.cpp  the CPU's kernels: they go into libdeepwater_cpu.so, once for every instruction set of
#                            DEEPWATER_LEVELS; bodies are single-source, nvcc compiles them once more for CUDA
# Sets `parts` to the targets made, for the options that all of them need.
function(deepwater_folder name)
  set(target deepwater_${name})
  file(GLOB sources CONFIGURE_DEPENDS *.cpp commands/*.cpp schemes/*.cpp attacks/*.cpp studies/*.cpp
    bench_step/*.cpp bench_mark/*.cpp)
  file(GLOB bodies CONFIGURE_DEPENDS bodies/*.cpp)
  file(GLOB cpu_sources CONFIGURE_DEPENDS cpu/*.cpp)
  list(FILTER sources EXCLUDE REGEX "main\\.cpp$")
  if(DEEPWATER_HAS_CUDA)
    file(GLOB cuda_sources CONFIGURE_DEPENDS cuda/*.cpp cuda/*.cu)
    list(APPEND sources ${cuda_sources})
    foreach(body ${bodies})
      get_filename_component(stem ${body} NAME_WE)
      set(wrapper ${CMAKE_CURRENT_BINARY_DIR}/${stem}_cuda.cu)
      file(CONFIGURE OUTPUT ${wrapper} CONTENT "#include \"${body}\"\n")
      list(APPEND sources ${wrapper})
    endforeach()
  endif()
  if(NOT sources)
    add_library(${target} INTERFACE)
    target_link_libraries(${target} INTERFACE ${ARGN})
    return()
  endif()
  add_library(${target} OBJECT ${sources})
  target_link_libraries(${target} PUBLIC deepwater_options ${ARGN})
  target_link_libraries(deepwater_library PUBLIC ${target})
  set(made ${target})
  if(cpu_sources OR bodies)
    foreach(level ${DEEPWATER_LEVELS})
      set(part ${target}_cpu_${level})
      add_library(${part} OBJECT ${cpu_sources} ${bodies})
      target_link_libraries(${part} PUBLIC deepwater_options ${ARGN})
      set_target_properties(${part} PROPERTIES DEEPWATER_LEVEL ${level})
      target_link_libraries(deepwater_cpu_${level} PRIVATE ${part})
      list(APPEND made ${part})
    endforeach()
  endif()
  set(parts ${made} PARENT_SCOPE)
  deepwater_links_alone(${target} ${ARGN})
endfunction()

# Links the folder with what it may include and nothing else: a symbol of any other folder is an error.
function(deepwater_links_alone target)
  set(objects ${target})
  if(TARGET ${target}_cpu_${baseline})
    list(APPEND objects ${target}_cpu_${baseline})
  endif()
  foreach(below ${ARGN})
    get_target_property(below_objects ${below} DEEPWATER_OBJECTS)
    list(APPEND objects ${below_objects})
  endforeach()
  list(REMOVE_DUPLICATES objects)
  set_target_properties(${target} PROPERTIES DEEPWATER_OBJECTS "${objects}")
  if(DEEPWATER_SANITIZE)
    return()  # sanitizers leave symbols to the program
  endif()
  add_library(${target}_alone SHARED)
  set_target_properties(${target}_alone PROPERTIES LINKER_LANGUAGE CXX LIBRARY_OUTPUT_DIRECTORY ${CMAKE_CURRENT_BINARY_DIR})
  target_link_libraries(${target}_alone PRIVATE ${objects})
  target_link_options(${target}_alone PRIVATE -Wl,-z,defs)
endfunction()

add_library(deepwater_options INTERFACE)
target_include_directories(deepwater_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(deepwater_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-Wall -Wextra -Wpedantic -Wshadow -fno-math-errno>
  # fmt 9 checks formats with consteval, which nvcc cannot evaluate: there they are checked when used.
  $<$<COMPILE_LANGUAGE:CUDA>:--extended-lambda --expt-relaxed-constexpr -DFMT_CONSTEVAL= -DFMT_USE_CONSTEXPR=1 -Xcompiler=-Wall,-Wextra,-fopenmp-simd>)
# GCC 12 warns wrongly inside std::string's operator+ (its bug 105651).
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
  target_compile_options(deepwater_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-Wno-restrict>)
endif()
if(DEEPWATER_WERROR)
  target_compile_options(deepwater_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-Werror> $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Werror>)
endif()

# The first level of DEEPWATER_LEVELS is what everything is compiled for that has no DEEPWATER_LEVEL of its own. One
# -march a command: of several the last would win.
if(DEEPWATER_NATIVE)
  set(DEEPWATER_LEVELS native)
else()
  set(DEEPWATER_LEVELS ${DEEPWATER_ARCH})
endif()
list(GET DEEPWATER_LEVELS 0 baseline)
set(own_level $<TARGET_PROPERTY:DEEPWATER_LEVEL>)
target_compile_options(deepwater_options INTERFACE
  $<$<COMPILE_LANGUAGE:CXX>:-march=$<IF:$<BOOL:${own_level}>,${own_level},${baseline}>>)
if(DEEPWATER_SANITIZE)
  target_compile_options(deepwater_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${DEEPWATER_SANITIZE} -fno-omit-frame-pointer -g>)
  target_link_options(deepwater_options INTERFACE -fsanitize=${DEEPWATER_SANITIZE})
endif()
# An RPATH of the old kind also serves the libraries that our libraries need: those that travel with them.
set(CMAKE_INSTALL_RPATH "$ORIGIN/../lib")
target_link_options(deepwater_options INTERFACE -Wl,--disable-new-dtags)
target_link_libraries(deepwater_options INTERFACE fmt::fmt OpenMP::OpenMP_CXX Threads::Threads)

# All programs share one library, and that the CPU's kernels: the dynamic loader takes those of the highest level
# that the processor has, from lib/glibc-hwcaps/LEVEL, else those of lib.
add_library(deepwater_library SHARED)
set_target_properties(deepwater_library PROPERTIES OUTPUT_NAME deepwater LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/lib)
install(TARGETS deepwater_library LIBRARY DESTINATION lib)
foreach(level ${DEEPWATER_LEVELS})
  set(place lib)
  if(NOT level STREQUAL baseline)
    set(place lib/glibc-hwcaps/${level})
  endif()
  add_library(deepwater_cpu_${level} SHARED)
  set_target_properties(deepwater_cpu_${level} PROPERTIES OUTPUT_NAME deepwater_cpu
    LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR}/${place} INSTALL_RPATH "$ORIGIN:$ORIGIN/../..")
  install(TARGETS deepwater_cpu_${level} LIBRARY DESTINATION ${place})
endforeach()
target_link_libraries(deepwater_library PUBLIC deepwater_cpu_${baseline})

# deepwater_program(NAME source): an executable in the build folder and in the package.
function(deepwater_program name)
  add_executable(${name} ${ARGN})
  target_link_libraries(${name} PRIVATE deepwater_library)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
  foreach(level ${DEEPWATER_LEVELS})
    add_dependencies(${name} deepwater_cpu_${level})
  endforeach()
  install(TARGETS ${name} RUNTIME DESTINATION bin)
endfunction()
