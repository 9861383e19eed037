// Fixtures of the ownership tests: a fixed key, synthetic marked layers, a scratch folder.
#pragma once

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <random>
#include <string>
#include <vector>

#include "kernels/error.h"
#include "watermark/carrier.h"
#include "watermark/claim.h"
#include "watermark/reader.h"
#include "watermark/target.h"

namespace dw::test {

/// A folder of its own, removed afterwards.
class ScratchFolder {
 public:
  ScratchFolder() {
    std::string pattern = (std::filesystem::temp_directory_path() / "deepwater-test-XXXXXX").string();
    path_ = ::mkdtemp(pattern.data());
  }
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  ~ScratchFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Writes without the sync of write_file_atomically: some tests write thousands of small files.
inline void write_quickly(const std::filesystem::path& path, const std::string& content) {
  std::ofstream(path, std::ios::binary) << content;
}

/// Master key 00 01 .. 1f, signing seed 20 21 .. 3f.
inline OwnerKey fixed_key(int bits = 256) {
  std::array<uint8_t, 32> master;
  std::array<uint8_t, 32> seed;
  for (uint8_t i = 0; i < 32; ++i) {
    master[i] = i;
    seed[i] = static_cast<uint8_t>(32 + i);
  }
  OwnerKey key{Secret(master), Secret(seed), {}};
  key.statement = {"Ada Lovelace", "2026-03-01T12:00:00Z", "first network", public_key_of(*key.signing_seed),
                   bits};
  return key;
}

inline Mark small_mark() {
  Mark mark;
  mark.network = "wrn-10-1";
  mark.layers = {{"block1.layer.0.conv1.weight", {16, 16, 3, 3}},
                 {"block1.layer.0.conv2.weight", {32, 16, 3, 3}}};
  mark.amplitude = 0.85;
  return mark;
}

/// The seven marked layers of WRN-10-1 and a stem: 76,960 marked weights.
inline Mark wrn_mark() {
  Mark mark = small_mark();
  mark.layers = {{"block1.layer.0.conv1.weight", {16, 16, 3, 3}},
                 {"block1.layer.0.conv2.weight", {16, 16, 3, 3}},
                 {"block2.layer.0.conv1.weight", {32, 16, 3, 3}},
                 {"block2.layer.0.conv2.weight", {32, 32, 3, 3}},
                 {"block2.layer.0.convShortcut.weight", {32, 16, 1, 1}},
                 {"block3.layer.0.conv1.weight", {64, 32, 3, 3}},
                 {"block3.layer.0.conv2.weight", {64, 64, 3, 3}},
                 {"block3.layer.0.convShortcut.weight", {64, 32, 1, 1}}};
  return mark;
}

using Weights = std::vector<std::vector<float>>;

/// Normal weights, layer l with standard deviation 0.05 (l + 1).
inline Weights natural_weights(const Mark& mark, uint32_t seed) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal;
  Weights weights;
  for (const MarkedLayer& layer : mark.layers) {
    std::vector<float>& values = weights.emplace_back(weight_count(layer));
    for (float& value : values) value = 0.05F * static_cast<float>(weights.size()) * normal(generator);
  }
  return weights;
}

/// Draws from the marked density: |u| is kept, its sign becomes the owner's with probability
/// (1 + a tanh(|u| / tau)) / 2.
inline Weights marked_weights(const Mark& mark, const OwnerKey& key, uint32_t seed) {
  Weights weights = natural_weights(mark, seed);
  const std::vector<int8_t> payload = payload_of(key.master, key.statement);
  std::mt19937 generator(seed + 1);
  std::uniform_real_distribution<double> uniform;
  for (size_t l = 0; l < weights.size(); ++l) {
    std::vector<uint32_t> words(weights[l].size());
    Carrier(key.master, static_cast<uint32_t>(l), mark.layers[l].shape).words(0, words);
    for (size_t i = 0; i < words.size(); ++i) {
      const double magnitude = std::fabs(weights[l][i]);
      const double tilt =
          mark.amplitude * std::tanh(magnitude / (0.05 * static_cast<double>(l + 1)) / mark.tau);
      const int owner =
          sign_of_word(words[i]) * payload[bit_of_word(words[i], static_cast<uint32_t>(mark.bits))];
      weights[l][i] =
          static_cast<float>(uniform(generator) < (1 + tilt) / 2 ? owner * magnitude : -owner * magnitude);
    }
  }
  return weights;
}

inline std::vector<LayerWeights> views(const Mark& mark, const Weights& weights) {
  std::vector<LayerWeights> layers;
  for (size_t l = 0; l < weights.size(); ++l)
    layers.push_back({mark.layers[l].name, mark.layers[l].shape, weights[l]});
  return layers;
}

/// Zeroes the smallest `fraction` of every layer.
inline void prune(Weights& weights, double fraction) {
  for (std::vector<float>& layer : weights) {
    std::vector<float> magnitudes;
    for (const float value : layer) magnitudes.push_back(std::fabs(value));
    std::sort(magnitudes.begin(), magnitudes.end());
    const float threshold = magnitudes[static_cast<size_t>(fraction * static_cast<double>(layer.size()))];
    for (float& value : layer)
      if (std::fabs(value) < threshold) value = 0;
  }
}

/// The message of the Error that `action` throws; empty if it throws none.
template <typename Action>
std::string error_of(Action action) {
  try {
    action();
  } catch (const Error& error) {
    return error.what();
  }
  return "";
}

inline bool contains(const std::string& text, const std::string& part) {
  return text.find(part) != std::string::npos;
}

}  // namespace dw::test
