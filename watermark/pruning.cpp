#include "watermark/pruning.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "core/random.h"
#include "core/safetensors.h"
#include "kernels/error.h"

namespace dw {
namespace {

// A tensor's weights by the number that decides which go first.
struct Ranked {
  std::string name;
  std::vector<float> rank;
};

struct Position {
  size_t tensor;
  size_t element;
};

size_t share_of(size_t count, double fraction) {
  return static_cast<size_t>(std::llround(fraction * static_cast<double>(count)));
}

// The `count` of `positions` with the lowest rank; of equals, the first.
std::vector<Position> lowest(const std::vector<Ranked>& all, std::vector<Position> positions, size_t count) {
  const auto lower = [&](const Position& a, const Position& b) {
    const float x = all[a.tensor].rank[a.element], y = all[b.tensor].rank[b.element];
    if (x != y) return x < y;
    return std::pair(a.tensor, a.element) < std::pair(b.tensor, b.element);
  };
  if (count < positions.size()) {
    std::nth_element(positions.begin(), positions.begin() + static_cast<std::ptrdiff_t>(count),
                     positions.end(), lower);
  }
  positions.resize(count);
  return positions;
}

void check_fraction(double fraction) {
  if (!(fraction >= 0 && fraction < 1))
    throw UsageError(fmt::format("the fraction to prune lies in [0, 1), found {}", fraction));
}

std::vector<Position> chosen(const std::vector<Ranked>& all, double fraction, PruningScope scope) {
  std::vector<Position> result, positions;
  for (size_t t = 0; t < all.size(); ++t) {
    const size_t count = all[t].rank.size();
    for (size_t i = 0; i < count; ++i) positions.push_back({t, i});
    if (scope == PruningScope::global) continue;
    const std::vector<Position> own = lowest(all, std::move(positions), share_of(count, fraction));
    result.insert(result.end(), own.begin(), own.end());
    positions = {};
  }
  if (scope == PruningScope::layer) return result;
  const size_t count = share_of(positions.size(), fraction);
  return lowest(all, std::move(positions), count);
}

std::vector<float> magnitudes_of(std::span<const float> values, const std::string& where) {
  std::vector<float> magnitudes;
  magnitudes.reserve(values.size());
  for (const float value : values) {
    require(!std::isnan(value), "{} holds a NaN, which has no magnitude", where);
    magnitudes.push_back(std::fabs(value));
  }
  return magnitudes;
}

void count_layer(PruningReport& report, const std::string& name, std::span<const float> values) {
  const auto zeros = std::ranges::count(values, 0.0F);
  report.layers.push_back({name, static_cast<int64_t>(values.size()), zeros});
  report.weights += static_cast<int64_t>(values.size());
  report.zeros += zeros;
}

std::vector<ModelTensor*> weights_of(Model& model, size_t rank) {
  std::vector<ModelTensor*> weights;
  for (ModelTensor& tensor : model.tensors)
    if (tensor.shape.size() >= rank && !tensor.values.empty()) weights.push_back(&tensor);
  if (weights.empty()) throw UsageError("the model holds no weights to prune");
  return weights;
}

}  // namespace

PruningScope parse_pruning_scope(std::string_view text) {
  if (text == "layer") return PruningScope::layer;
  if (text == "global") return PruningScope::global;
  throw UsageError(fmt::format("pruning scope \"{}\" is not known; there are layer and global", text));
}

PruningReport prune_model(const std::filesystem::path& in, const std::filesystem::path& out, double fraction,
                          PruningScope scope) {
  check_fraction(fraction);
  const SafetensorsFile file = SafetensorsFile::open(in);
  std::error_code ignored;
  if (std::filesystem::equivalent(in, out, ignored)) {
    throw UsageError(
        fmt::format("{} would be replaced by its pruned copy: give another output file", in.string()));
  }

  std::vector<Ranked> all;
  std::vector<std::vector<std::byte>> bytes;
  for (const auto& [name, entry] : file.entries()) {
    if (!is_floating(entry.dtype) || entry.shape.size() < 2 || entry.bytes.empty()) continue;
    all.push_back({name, magnitudes_of(file.read_f32(name), fmt::format("{}: {}", in.string(), name))});
    bytes.emplace_back(entry.bytes.begin(), entry.bytes.end());
  }
  if (all.empty()) throw UsageError(fmt::format("{} holds no weights to prune", in.string()));
  for (const auto& [tensor, element] : chosen(all, fraction, scope)) {
    const size_t width = bytes[tensor].size() / all[tensor].rank.size();
    // A zero is all bits zero in every floating format.
    std::fill_n(bytes[tensor].begin() + static_cast<std::ptrdiff_t>(element * width), width, std::byte{0});
    all[tensor].rank[element] = 0;
  }

  PruningReport report;
  std::map<std::string, SafetensorsEntry> entries = file.entries();
  for (size_t t = 0; t < all.size(); ++t) {
    entries.at(all[t].name).bytes = bytes[t];
    count_layer(report, all[t].name, all[t].rank);
  }
  std::map<std::string, std::string> metadata = file.metadata();
  metadata["pruned"] = fmt::format("{} {}", fraction, scope == PruningScope::layer ? "layer" : "global");
  write_safetensors(out, metadata, entries);
  return report;
}

PruningReport prune_model(Model& model, double fraction, PruningScope scope, PruningOrder order,
                          uint64_t seed) {
  check_fraction(fraction);
  const std::vector<ModelTensor*> weights = weights_of(model, 2);
  std::vector<Ranked> all;
  for (const ModelTensor* weight : weights) {
    Ranked ranked{weight->name, magnitudes_of(weight->values, weight->name)};
    if (order == PruningOrder::largest) {
      for (float& rank : ranked.rank) rank = -rank;
    } else if (order == PruningOrder::random) {
      constexpr uint32_t pruning_stream = 17;
      const auto step = static_cast<uint32_t>(all.size());
      ranked.rank = random_uniform({static_cast<int64_t>(ranked.rank.size())}, {seed, pruning_stream, step})
                        .to_vector<float>();
    }
    all.push_back(std::move(ranked));
  }
  for (const auto& [tensor, element] : chosen(all, fraction, scope)) weights[tensor]->values[element] = 0;
  PruningReport report;
  for (const ModelTensor* weight : weights) count_layer(report, weight->name, weight->values);
  return report;
}

PruningReport prune_filters(Model& model, double fraction) {
  check_fraction(fraction);
  const std::vector<ModelTensor*> weights = weights_of(model, 4);
  PruningReport report;
  for (ModelTensor* weight : weights) {
    // The convolution that reads the image is the one with the fewest input channels.
    const bool stem = std::ranges::all_of(weights, [&](const ModelTensor* other) {
      return other == weight || other->shape[1] > weight->shape[1];
    });
    if (!stem) {
      const auto filters = static_cast<size_t>(weight->shape[0]);
      const size_t size = weight->values.size() / filters;
      Ranked sums{weight->name, {}};
      std::vector<Position> positions;
      for (size_t f = 0; f < filters; ++f) {
        const auto filter = std::span(weight->values).subspan(f * size, size);
        const std::vector<float> magnitudes = magnitudes_of(filter, weight->name);
        sums.rank.push_back(std::accumulate(magnitudes.begin(), magnitudes.end(), 0.0F));
        positions.push_back({0, f});
      }
      for (const Position& filter : lowest({sums}, std::move(positions), share_of(filters, fraction)))
        std::ranges::fill(std::span(weight->values).subspan(filter.element * size, size), 0.0F);
    }
    count_layer(report, weight->name, weight->values);
  }
  return report;
}

}  // namespace dw
