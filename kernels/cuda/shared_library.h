// A shared library of CUDA, found and opened while the program runs: it starts on machines that have none.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace dw::cuda_backend {

/// Stays open until the process ends.
class SharedLibrary {
 public:
  /// `file` as the loader names it, e.g. "libcudnn.so.9"; `name` as people do. Looks where the loader looks
  /// (LD_LIBRARY_PATH, the system), then in cuda_library_folders().
  SharedLibrary(std::string name, std::string file);

  bool found() const { return handle_ != nullptr; }
  /// The file that was opened; empty where none was.
  std::filesystem::path path() const;

  /// A function's address. Errors: the library was not found, naming where it was looked for, which files did
  /// not load and how to get it; or it is too old to have the function.
  void* address(const char* function) const;

 private:
  std::string name_, file_, unusable_;
  void* handle_ = nullptr;
};

/// The folders of CUDA libraries on this machine: of the toolkit ($CUDA_HOME, /usr/local/cuda), then of pip's
/// nvidia-* wheels beside every python3 on the PATH and what it links to, in $VIRTUAL_ENV, $CONDA_PREFIX and
/// ~/.local.
std::vector<std::filesystem::path> cuda_library_folders();

/// The libraries that this program calls, opened at first use.
const SharedLibrary& cublas_library();
const SharedLibrary& cudnn_library();

}  // namespace dw::cuda_backend
