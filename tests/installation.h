// The programs and sources that tests use, also where the test binary has moved to another machine.
#pragma once

#include <doctest/doctest.h>

#include <optional>

#include "experiments/installation.h"

namespace dw::test {

/// An executable of this build: beside the test binary in a package, one folder above it in a build folder.
inline std::filesystem::path program_path(const char* name) {
  const std::filesystem::path beside = program_folder() / name;
  return std::filesystem::exists(beside) ? beside : program_folder().parent_path() / name;
}

/// A folder of the repository. Where it is not on this machine the test says that it is skipped, and returns.
inline std::optional<std::filesystem::path> source_folder(const char* name) {
  std::filesystem::path folder = source_file(name);
  if (std::filesystem::is_directory(folder)) return folder;
  MESSAGE("skipped: the sources are not on this machine");
  return {};
}

}  // namespace dw::test
