// Named tensors to and from safetensors files.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/safetensors.h"
#include "core/tensor.h"

namespace dw {

struct NamedTensor {
  std::string name;  ///< dotted path, e.g. "block1.layer.0.conv1.weight"
  Tensor tensor;
};

/// Writes tensors of any device and memory order in row-major order, atomically.
void save_tensors(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata,
                  const std::vector<NamedTensor>& tensors);

/// One entry in its own dtype, on the CPU; F16 becomes f32. Error for dtypes a Tensor cannot hold.
Tensor read_tensor(const SafetensorsFile& file, const std::string& name);

/// Overwrites `tensors` with the entries `prefix + name`, converting dtype. Error listing every entry that is
/// missing, of another shape or (with `strict`) not asked for under the prefix; nothing is changed then.
void load_tensors(const SafetensorsFile& file, const std::string& prefix,
                  const std::vector<NamedTensor>& tensors, bool strict = true);

}  // namespace dw
