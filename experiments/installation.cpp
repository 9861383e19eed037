// The package's layout: bin/ with the programs, lib/, share/deepwater/ with what they read.
#include "experiments/installation.h"

namespace dw {

namespace fs = std::filesystem;

fs::path program_folder() {
  return fs::read_symlink("/proc/self/exe").parent_path();
}

fs::path source_file(std::string_view path) {
  const fs::path packaged = program_folder().parent_path() / "share" / "deepwater" / path;
  return fs::exists(packaged) ? packaged : fs::path(DEEPWATER_SOURCE_DIR) / path;
}

}  // namespace dw
