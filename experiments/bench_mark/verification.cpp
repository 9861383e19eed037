#include "experiments/bench_mark/verification.h"

#include <unistd.h>

#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <map>

#include "core/random.h"
#include "core/safetensors.h"
#include "experiments/bench_mark/gradient.h"
#include "experiments/text.h"
#include "kernels/error.h"
#include "watermark/verifier.h"

namespace dw {
namespace {

// A line of /proc/self/status in megabytes.
double status_megabytes(const std::string& name) {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with(name + ":")) return std::stod(line.substr(name.size() + 1)) / 1024;
  return std::nan("");
}

// From here on the peak is counted anew.
void reset_peak() {
  std::ofstream("/proc/self/clear_refs") << 5;
}

// A model file of normal weights and the claim of a mark on it.
class Suspect {
 public:
  explicit Suspect(int64_t weights) : key_(generate_key("benchmark")), claim_(make_claim(key_)) {
    std::string pattern = (std::filesystem::temp_directory_path() / "bench-mark-XXXXXX").string();
    require(::mkdtemp(pattern.data()) != nullptr, "cannot make a folder like {}", pattern);
    folder_ = pattern;
    Mark mark;
    mark.network = "filters";
    mark.amplitude = 0.2;
    mark.layers = convolutions_of(weights);
    add_mark(claim_, key_, mark);
    std::map<std::string, SafetensorsEntry> entries;
    std::vector<std::vector<float>> values;
    values.reserve(mark.layers.size());
    for (const MarkedLayer& layer : mark.layers) {
      const auto ordinal = static_cast<uint32_t>(values.size());
      values.push_back(random_normal(layer.shape, {1, 3, ordinal}, 0, 0.05).to_vector<float>());
      entries[layer.name] = {"F32", layer.shape, std::as_bytes(std::span(values.back()))};
      weights_ += static_cast<int64_t>(values.back().size());
    }
    write_safetensors(path(), {}, entries);
  }
  Suspect(const Suspect&) = delete;
  Suspect& operator=(const Suspect&) = delete;
  ~Suspect() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  VerificationTime measure(int keys) const {
    release_cached_memory(cpu);
    reset_peak();
    const double before = status_megabytes("VmRSS");
    const auto start = std::chrono::steady_clock::now();
    const Verdict verdict = verify(claim_, key_, SafetensorsFile::open(path()), {.null_keys = keys});
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start;
    require(!verdict.owned, "weights that were drawn at random are owned by a key: {}", verdict.reason);
    return {weights_, keys, elapsed.count(), status_megabytes("VmHWM") - before};
  }

 private:
  std::filesystem::path path() const { return folder_ / "model.safetensors"; }

  OwnerKey key_;
  Claim claim_;
  std::filesystem::path folder_;
  int64_t weights_ = 0;
};

}  // namespace

std::vector<VerificationTime> measure_verification(
    int64_t largest, int keys, const std::function<void(const std::string& note)>& progress) {
  std::vector<VerificationTime> times;
  const auto measure = [&](const Suspect& suspect, int64_t weights, int count) {
    if (progress)
      progress(format_count(static_cast<uint64_t>(weights)) + " weights, " +
               format_count(static_cast<uint64_t>(count)) + " keys");
    times.push_back(suspect.measure(count));
  };
  {
    const Suspect suspect(largest);
    for (const int part : {1, 2, 4, 10}) measure(suspect, largest, std::max(1, keys / part));
  }
  for (const int part : {2, 4, 10}) measure(Suspect(largest / part), largest / part, keys);
  return times;
}

}  // namespace dw
