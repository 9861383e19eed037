#include "watermark/pruning.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "core/safetensors.h"
#include "kernels/error.h"

namespace dw {
namespace {

struct Weights {
  std::string name;
  std::vector<float> magnitudes;
  std::vector<std::byte> bytes;
};

struct Position {
  size_t tensor;
  size_t element;
};

// Zeroes `count` of the elements at `positions`: those of smallest magnitude.
void zero_smallest(std::vector<Weights>& all, std::vector<Position> positions, size_t count) {
  const auto smaller = [&](const Position& a, const Position& b) {
    const float x = all[a.tensor].magnitudes[a.element], y = all[b.tensor].magnitudes[b.element];
    if (x != y) return x < y;
    return std::pair(a.tensor, a.element) < std::pair(b.tensor, b.element);
  };
  if (count < positions.size()) {
    std::nth_element(positions.begin(), positions.begin() + static_cast<std::ptrdiff_t>(count),
                     positions.end(), smaller);
  }
  for (size_t i = 0; i < count; ++i) {
    Weights& weights = all[positions[i].tensor];
    const size_t width = weights.bytes.size() / weights.magnitudes.size();
    // A zero is all bits zero in every floating format.
    std::fill_n(weights.bytes.begin() + static_cast<std::ptrdiff_t>(positions[i].element * width), width,
                std::byte{0});
    weights.magnitudes[positions[i].element] = 0;
  }
}

size_t share_of(size_t count, double fraction) {
  return static_cast<size_t>(std::llround(fraction * static_cast<double>(count)));
}

}  // namespace

PruningScope parse_pruning_scope(std::string_view text) {
  if (text == "layer") return PruningScope::layer;
  if (text == "global") return PruningScope::global;
  throw UsageError(fmt::format("pruning scope \"{}\" is not known; there are layer and global", text));
}

PruningReport prune_model(const std::filesystem::path& in, const std::filesystem::path& out, double fraction,
                          PruningScope scope) {
  if (!(fraction >= 0 && fraction < 1)) {
    throw UsageError(fmt::format("the fraction to prune lies in [0, 1), found {}", fraction));
  }
  const SafetensorsFile file = SafetensorsFile::open(in);
  std::error_code ignored;
  if (std::filesystem::equivalent(in, out, ignored)) {
    throw UsageError(
        fmt::format("{} would be replaced by its pruned copy: give another output file", in.string()));
  }

  std::vector<Weights> all;
  for (const auto& [name, entry] : file.entries()) {
    if (!is_floating(entry.dtype) || entry.shape.size() < 2 || entry.bytes.empty()) continue;
    Weights weights{name, file.read_f32(name), {entry.bytes.begin(), entry.bytes.end()}};
    for (float& value : weights.magnitudes) {
      require(!std::isnan(value), "{}: {} holds a NaN, which has no magnitude", in.string(), name);
      value = std::fabs(value);
    }
    all.push_back(std::move(weights));
  }
  if (all.empty()) throw UsageError(fmt::format("{} holds no weights to prune", in.string()));

  std::vector<Position> positions;
  for (size_t t = 0; t < all.size(); ++t) {
    for (size_t i = 0; i < all[t].magnitudes.size(); ++i) positions.push_back({t, i});
    if (scope == PruningScope::layer) {
      zero_smallest(all, std::move(positions), share_of(all[t].magnitudes.size(), fraction));
      positions = {};
    }
  }
  if (scope == PruningScope::global) {
    const size_t count = share_of(positions.size(), fraction);
    zero_smallest(all, std::move(positions), count);
  }

  PruningReport report;
  std::map<std::string, SafetensorsEntry> entries = file.entries();
  for (const Weights& weights : all) {
    entries.at(weights.name).bytes = weights.bytes;
    const auto count = static_cast<int64_t>(weights.magnitudes.size());
    const auto zeros = std::count(weights.magnitudes.begin(), weights.magnitudes.end(), 0.0F);
    report.layers.push_back({weights.name, count, zeros});
    report.weights += count;
    report.zeros += zeros;
  }
  std::map<std::string, std::string> metadata = file.metadata();
  metadata["pruned"] = fmt::format("{} {}", fraction, scope == PruningScope::layer ? "layer" : "global");
  write_safetensors(out, metadata, entries);
  return report;
}

}  // namespace dw
