# deepwater_folder(NAME link...): the library `deepwater_NAME` from this folder's sources.
#   *.cpp and the named subfolders   compiled always
#   cuda/*.cpp, *.cu   compiled where CUDA is built
#   bodies/*.cpp       single-source kernels: compiled by g++ for the CPU and once more by nvcc for CUDA
function(deepwater_folder name)
  set(target deepwater_${name})
  file(GLOB sources CONFIGURE_DEPENDS *.cpp cpu/*.cpp commands/*.cpp schemes/*.cpp attacks/*.cpp studies/*.cpp
    bench_step/*.cpp bench_mark/*.cpp)
  file(GLOB bodies CONFIGURE_DEPENDS bodies/*.cpp)
  list(FILTER sources EXCLUDE REGEX "main\\.cpp$")
  list(APPEND sources ${bodies})
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
  add_library(${target} STATIC ${sources})
  target_link_libraries(${target} PUBLIC deepwater_options ${ARGN})
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
if(DEEPWATER_NATIVE)
  target_compile_options(deepwater_options INTERFACE $<$<COMPILE_LANGUAGE:CXX>:-march=native>)
endif()
if(DEEPWATER_SANITIZE)
  target_compile_options(deepwater_options INTERFACE
    $<$<COMPILE_LANGUAGE:CXX>:-fsanitize=${DEEPWATER_SANITIZE} -fno-omit-frame-pointer -g>)
  target_link_options(deepwater_options INTERFACE -fsanitize=${DEEPWATER_SANITIZE})
endif()
target_link_libraries(deepwater_options INTERFACE fmt::fmt OpenMP::OpenMP_CXX Threads::Threads)
