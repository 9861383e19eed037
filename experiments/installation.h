// Where the files beside the program lie: in a checkout, or in an unpacked package that may have moved.
#pragma once

#include <filesystem>
#include <string_view>

namespace dw {

/// The folder of the running executable.
std::filesystem::path program_folder();

/// A file of the sources that programs use while they run, by its path in the repository: of the package the
/// program lies in (share/deepwater/), else of the checkout it was built from. It need not exist.
std::filesystem::path source_file(std::string_view path);

}  // namespace dw
