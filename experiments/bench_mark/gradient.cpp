#include "experiments/bench_mark/gradient.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/module.h"
#include "core/random.h"
#include "experiments/installation.h"
#include "experiments/median.h"
#include "experiments/text.h"
#include "kernels/error.h"
#include "watermark/carrier.h"
#include "watermark/embedder.h"

namespace dw {
namespace {

constexpr double bytes_a_weight = 24;

// Convolutions and nothing else.
class Filters : public Module {
 public:
  Filters(const std::vector<MarkedLayer>& layers, Device device) {
    tensors_.reserve(layers.size() + 1);
    add("stem", {4, 3, 3, 3}, device);
    for (const MarkedLayer& layer : layers) add(layer.name, layer.shape, device);
  }
  Tensor forward(const Tensor& input) override { return input; }

  std::vector<Tensor> marked() const { return {tensors_.begin() + 1, tensors_.end()}; }

 private:
  void add(const std::string& name, const Shape& shape, Device device) {
    const auto ordinal = static_cast<uint32_t>(tensors_.size());
    tensors_.push_back(
        random_normal(shape, {1, 1, ordinal}, 0, 0.05, DType::f32, device, Layout::channels_last));
    tensors_.back().set_grad(Tensor::zeros_like(tensors_.back()));
    register_parameter(name, tensors_.back());
  }
  std::vector<Tensor> tensors_;
};

template <typename T>
void write(const std::filesystem::path& path, const std::vector<T>& values) {
  std::ofstream file(path, std::ios::binary);
  file.write(reinterpret_cast<const char*>(values.data()),
             static_cast<std::streamsize>(values.size() * sizeof(T)));
  require(file.good(), "cannot write {}", path.string());
}

// Hands PyTorch the same weights, signs, bits and target, and takes its time and its gradient's difference.
class PytorchSide {
 public:
  PytorchSide(ChildProcess& child, const Filters& filters, const OwnerKey& key, const EmbedOptions& options,
              const Mark& mark)
      : child_(child) {
    std::string pattern = (std::filesystem::temp_directory_path() / "bench-mark-XXXXXX").string();
    require(::mkdtemp(pattern.data()) != nullptr, "cannot make a folder like {}", pattern);
    folder_ = pattern;
    std::vector<float> weights, gradient;
    std::vector<int64_t> layers;
    std::vector<int64_t> bits;
    std::vector<float> signs;
    const std::vector<int8_t> payload = payload_of(key.master, key.statement);
    const std::vector<Tensor> marked = filters.marked();
    for (size_t l = 0; l < marked.size(); ++l) {
      const std::vector<float> values = marked[l].to_vector<float>(),
                               ours = marked[l].grad().to_vector<float>();
      weights.insert(weights.end(), values.begin(), values.end());
      gradient.insert(gradient.end(), ours.begin(), ours.end());
      layers.push_back(static_cast<int64_t>(values.size()));
      std::vector<uint32_t> words(values.size());
      Carrier(key.master, static_cast<uint32_t>(l), marked[l].shape()).words(0, words);
      for (const uint32_t word : words) {
        const uint32_t bit = bit_of_word(word, static_cast<uint32_t>(mark.bits));
        bits.push_back(bit);
        signs.push_back(static_cast<float>(sign_of_word(word) * payload[bit]));
      }
    }
    write(folder_ / "weights", weights);
    write(folder_ / "gradient", gradient);
    write(folder_ / "signs", signs);
    write(folder_ / "bits", bits);
    const auto target = target_skew_table(Density::gaussian(), mark.amplitude, mark.tau);
    const nlohmann::json request = {{"folder", folder_.string()}, {"layers", layers},  {"bits", mark.bits},
                                    {"strength", options.lambda}, {"step", knot_step}, {"target", target}};
    child_.write(request.dump() + "\n");
    difference_ = answer().at("difference").get<double>();
  }
  PytorchSide(const PytorchSide&) = delete;
  PytorchSide& operator=(const PytorchSide&) = delete;
  ~PytorchSide() {
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  double difference() const { return difference_; }
  double milliseconds(int repetitions) {
    child_.write(std::to_string(repetitions) + "\n");
    return answer().at("milliseconds").get<double>();
  }

 private:
  nlohmann::json answer() {
    const std::optional<std::string> line = child_.read_line();
    require(line.has_value(), "the PyTorch side of the benchmark stopped; its last words: {}",
            child_.last_words());
    return nlohmann::json::parse(*line);
  }

  ChildProcess& child_;
  std::filesystem::path folder_;
  double difference_ = 0;
};

GradientTime measure(int64_t weights, const GradientPlan& plan, ChildProcess* pytorch) {
  const std::vector<MarkedLayer> layers = convolutions_of(weights);
  const Filters filters(layers, plan.device);
  const OwnerKey key = generate_key("benchmark");
  // Magnitudes free: what autograd gives is the plain derivative.
  const EmbedOptions options{.strength = 5, .keep_magnitudes = pytorch == nullptr};
  Embedder embedder(filters, "filters", key, options);
  GradientTime result;
  for (const MarkedLayer& layer : layers) result.weights += static_cast<int64_t>(weight_count(layer));
  embedder.add_gradients();
  std::optional<PytorchSide> other;
  if (pytorch != nullptr) {
    other.emplace(*pytorch, filters, key, options, embedder.mark());
    result.difference = other->difference();
  }
  // Small problems are repeated until a clock can see them; PyTorch, whose calls take longer, less often.
  const auto repetitions = static_cast<int>(std::clamp<int64_t>(10'000'000 / result.weights, 1, 200));
  const auto call = [&] {
    embedder.add_gradients();
    synchronize(plan.device);
  };
  std::vector<double> ours, theirs;
  for (int round = 0; round < plan.rounds; ++round) {
    // On both sides a turn begins with a call that does not count: until then the other side's threads may
    // still spin, and the caches are its own.
    call();
    ours.push_back(median_milliseconds(repetitions, call));
    if (other) theirs.push_back(other->milliseconds(1 + repetitions / 10));
  }
  result.milliseconds = median(std::move(ours));
  result.pytorch_milliseconds = median(std::move(theirs));
  return result;
}

}  // namespace

std::vector<MarkedLayer> convolutions_of(int64_t weights) {
  int64_t channels = 512;
  while (channels > 8 && 9 * channels * channels > weights) channels /= 2;
  const int64_t of_each = 9 * channels * channels;
  std::vector<MarkedLayer> layers;
  for (int64_t l = 0; l * of_each < weights; ++l)
    layers.push_back({fmt::format("layer{}.weight", l), {channels, channels, 3, 3}});
  return layers;
}

double median_milliseconds(int repetitions, const std::function<void()>& call) {
  std::vector<double> times;
  for (int i = 0; i < repetitions; ++i) {
    const auto start = std::chrono::steady_clock::now();
    call();
    times.push_back(
        std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  return median(std::move(times));
}

std::vector<GradientTime> measure_gradients(const GradientPlan& plan, ChildProcess* pytorch) {
  std::vector<GradientTime> times;
  for (const int64_t weights : plan.weights) {
    if (plan.progress) plan.progress(format_count(static_cast<uint64_t>(weights)) + " weights");
    times.push_back(measure(weights, plan, pytorch));
    times.back().memory_milliseconds =
        1000 * bytes_a_weight * static_cast<double>(times.back().weights) / plan.memory_rate;
  }
  return times;
}

std::unique_ptr<ChildProcess> start_pytorch_mark(const std::string& python, Device device,
                                                 std::string& version) {
  auto child = std::make_unique<ChildProcess>(
      std::vector<std::string>{python, "-u", source_file("experiments/bench_mark/pytorch_side.py"),
                               std::to_string(thread_count()), device == cpu ? "cpu" : "cuda"});
  const std::optional<std::string> greeting = child->read_line();
  if (!greeting || !greeting->starts_with("torch "))
    throw UsageError(fmt::format("{} has no PyTorch; its last words: {}", python, child->last_words()));
  version = *greeting;
  return child;
}

}  // namespace dw
