#include "core/tensor_file.h"

#include <cstring>
#include <set>

#include "core/tape.h"

namespace dw {
namespace {

std::string safetensors_name(DType dtype) {
  switch (dtype) {
    case DType::f32:
      return "F32";
    case DType::f64:
      return "F64";
    case DType::bf16:
      return "BF16";
    case DType::i64:
      return "I64";
    case DType::u8:
      break;
  }
  return "U8";
}

// At most a few names, so that an error stays one readable line.
std::string shortened(const std::vector<std::string>& problems) {
  constexpr size_t shown = 4;
  std::string text = fmt::format(
      "{}",
      fmt::join(problems.begin(),
                problems.begin() + static_cast<std::ptrdiff_t>(std::min(shown, problems.size())), "; "));
  if (problems.size() > shown) text += fmt::format("; and {} more", problems.size() - shown);
  return text;
}

}  // namespace

void save_tensors(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata,
                  const std::vector<NamedTensor>& tensors) {
  const NoGrad pause;
  std::map<std::string, SafetensorsEntry> entries;
  std::vector<Tensor> kept;  // the bytes that entries point to
  for (const auto& [name, tensor] : tensors) {
    kept.push_back(tensor.contiguous().to(cpu));
    const Tensor& host = kept.back();
    const auto* bytes = static_cast<const std::byte*>(host.raw_data());
    const bool added =
        entries
            .emplace(name,
                     SafetensorsEntry{safetensors_name(host.dtype()),
                                      host.shape(),
                                      {bytes, static_cast<size_t>(host.numel()) * size_of(host.dtype())}})
            .second;
    require(added, "two tensors are named {}", name);
  }
  write_safetensors(path, metadata, entries);
}

Tensor read_tensor(const SafetensorsFile& file, const std::string& name) {
  const SafetensorsEntry& entry = file.at(name);
  require(entry.shape.size() <= static_cast<size_t>(max_rank),
          "{}: tensor {} has shape {}, at most {} dimensions fit", file.path().string(), name, entry.shape,
          max_rank);
  if (entry.dtype == "F16") return Tensor::from(file.read_f32(name), entry.shape);
  for (const DType dtype : {DType::f32, DType::f64, DType::bf16, DType::i64, DType::u8}) {
    if (entry.dtype != safetensors_name(dtype)) continue;
    Tensor result = Tensor::empty(entry.shape, dtype);
    if (!entry.bytes.empty()) std::memcpy(result.raw_data(), entry.bytes.data(), entry.bytes.size());
    return result;
  }
  fail("{}: tensor {} has dtype {}, expected F32, F64, F16, BF16, I64 or U8", file.path().string(), name,
       entry.dtype);
}

void load_tensors(const SafetensorsFile& file, const std::string& prefix,
                  const std::vector<NamedTensor>& tensors, bool strict) {
  std::vector<std::string> problems;
  std::set<std::string> wanted;
  for (const auto& [name, tensor] : tensors) {
    wanted.insert(prefix + name);
    const auto found = file.entries().find(prefix + name);
    if (found == file.entries().end()) {
      problems.push_back(fmt::format("{} is missing", prefix + name));
    } else if (found->second.shape != tensor.shape()) {
      problems.push_back(
          fmt::format("{} has shape {}, expected {}", prefix + name, found->second.shape, tensor.shape()));
    }
  }
  for (const auto& [name, entry] : file.entries()) {
    if (strict && name.starts_with(prefix) && !wanted.contains(name) &&
        !name.ends_with("num_batches_tracked"))
      problems.push_back(fmt::format("{} is not part of this network", name));
  }
  require(problems.empty(), "{} does not fit: {}", file.path().string(), shortened(problems));
  for (const auto& [name, tensor] : tensors) tensor.copy_from(read_tensor(file, prefix + name));
}

}  // namespace dw
