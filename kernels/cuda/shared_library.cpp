// Where CUDA's libraries lie on the machine that runs the program.
#include "kernels/cuda/shared_library.h"

#include <cublas_v2.h>
#include <cudnn.h>
#include <dlfcn.h>
#include <link.h>

#include <cstdlib>
#include <sstream>
#include <string_view>
#include <utility>

#include "kernels/error.h"

namespace dw::cuda_backend {
namespace {

namespace fs = std::filesystem;

/// Empty where it is not set.
std::string environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

/// Folders below `folder` whose names start with `prefix`; none where it cannot be read.
std::vector<fs::path> folders_in(const fs::path& folder, std::string_view prefix = "") {
  std::vector<fs::path> found;
  std::error_code error;
  for (fs::directory_iterator entry(folder, error), end; !error && entry != end; entry.increment(error))
    if (entry->path().filename().string().starts_with(prefix) && entry->is_directory(error))
      found.push_back(entry->path());
  return found;
}

/// Of the Python that is installed under `prefix`.
void add_wheels(std::vector<fs::path>& folders, const fs::path& prefix) {
  for (const fs::path& python : folders_in(prefix / "lib", "python3"))
    for (const char* packages : {"site-packages", "dist-packages"})
      for (const fs::path& wheel : folders_in(python / packages / "nvidia"))
        if (fs::is_directory(wheel / "lib")) folders.push_back(wheel / "lib");
}

/// Folders that `python` is in: itself, and what it links to, step by step, as virtual environments do.
std::vector<fs::path> folders_of_program(fs::path python) {
  std::vector<fs::path> folders;
  std::error_code error;
  for (constexpr size_t most = 16; folders.size() < most;) {
    folders.push_back(python.parent_path());
    const fs::path target = fs::read_symlink(python, error);
    if (error) break;
    python = target.is_absolute() ? target : python.parent_path() / target;
  }
  return folders;
}

void* open(const std::string& file) {
  return ::dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
}

/// NVRTC opens these by name alone; a wheel's does not look beside itself.
void open_builtins_beside(const fs::path& compiler) {
  std::error_code error;
  for (fs::directory_iterator entry(compiler.parent_path(), error), end; !error && entry != end;
       entry.increment(error))
    if (entry->path().filename().string().starts_with("libnvrtc-builtins.so."))
      static_cast<void>(open(entry->path()));
}

/// The wheels of CUDA 13 have no number in their names, but for cuDNN's.
std::string how_to_install() {
  const std::string number = CUBLAS_VER_MAJOR < 13 ? fmt::format("-cu{}", CUBLAS_VER_MAJOR) : "";
  return fmt::format("pip install nvidia-cudnn-cu{} nvidia-cublas{} nvidia-cuda-nvrtc{}", CUBLAS_VER_MAJOR,
                     number, number);
}

}  // namespace

std::vector<fs::path> cuda_library_folders() {
  std::vector<fs::path> folders;
  for (const std::string& toolkit : {environment("CUDA_HOME"), std::string("/usr/local/cuda")})
    for (const char* libraries : {"lib64", "lib"})
      if (!toolkit.empty()) folders.push_back(fs::path(toolkit) / libraries);
  for (const char* prefix : {"VIRTUAL_ENV", "CONDA_PREFIX"})
    if (const std::string path = environment(prefix); !path.empty()) add_wheels(folders, path);
  std::istringstream path(environment("PATH"));
  for (std::string bin; std::getline(path, bin, ':');) {
    std::error_code error;
    if (bin.empty() || !fs::exists(fs::path(bin) / "python3", error)) continue;
    for (const fs::path& folder : folders_of_program(fs::path(bin) / "python3"))
      add_wheels(folders, folder.parent_path());
  }
  if (const std::string home = environment("HOME"); !home.empty())
    add_wheels(folders, fs::path(home) / ".local");
  add_wheels(folders, "/usr/local");
  return folders;
}

SharedLibrary::SharedLibrary(std::string name, std::string file)
    : name_(std::move(name)), file_(std::move(file)), handle_(open(file_)) {
  if (found()) return;
  for (const fs::path& folder : cuda_library_folders()) {
    std::error_code error;
    if (!fs::exists(folder / file_, error)) continue;
    handle_ = open(folder / file_);
    if (found()) return;
    const char* reason = ::dlerror();
    if (reason != nullptr) unusable_ += fmt::format("; {}", reason);
  }
}

std::filesystem::path SharedLibrary::path() const {
  link_map* map = nullptr;
  if (!found() || ::dlinfo(handle_, RTLD_DI_LINKMAP, &map) != 0) return {};
  return map->l_name;
}

void* SharedLibrary::address(const char* function) const {
  require(found(),
          "{} ({}) was not found by the loader, in CUDA_HOME, in /usr/local/cuda or among a Python's nvidia "
          "wheels{}. Install it ({}) or name its folder in LD_LIBRARY_PATH",
          name_, file_, unusable_, how_to_install());
  void* address = ::dlsym(handle_, function);
  require(address != nullptr, "{} ({}) has no function {}: a newer one is needed", name_, file_, function);
  return address;
}

const SharedLibrary& cublas_library() {
  static const SharedLibrary library("cuBLAS", fmt::format("libcublas.so.{}", CUBLAS_VER_MAJOR));
  return library;
}

const SharedLibrary& cudnn_library() {
  static const SharedLibrary library = [] {
    // cuDNN opens cuBLAS and NVRTC by name alone, and so finds those that are open already.
    static_cast<void>(cublas_library());
    const SharedLibrary compiler("NVRTC", fmt::format("libnvrtc.so.{}", CUBLAS_VER_MAJOR));
    open_builtins_beside(compiler.path());
    return SharedLibrary("cuDNN", fmt::format("libcudnn.so.{}", CUDNN_MAJOR));
  }();
  return library;
}

}  // namespace dw::cuda_backend
