// Lays carrier and payload out as the weights lie in memory, and hands both to the fused kernel of their
// device.
#include "watermark/embedder.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "kernels/graph.h"
#include "kernels/profile.h"
#include "watermark/bodies/distribution_matching.h"
#include "watermark/carrier.h"
#include "watermark/reader.h"
#include "watermark/target.h"

namespace dw {

#ifndef DEEPWATER_HAS_CUDA
void cuda_backend::match_distributions(Stream, const MatchingArguments&) {
  fail("distribution matching: this program was built without its CUDA half");
}
#endif

namespace {

// Host values copied to the device once.
template <typename T>
Buffer upload(Device device, const std::vector<T>& values) {
  Buffer buffer(device, values.size() * sizeof(T));
  copy_bytes(device, buffer.data(), cpu, values.data(), values.size() * sizeof(T));
  return buffer;
}

template <typename T>
T* pointer(const Buffer& buffer) {
  return static_cast<T*>(buffer.data());
}

// The position in memory of each weight in canonical (row-major) order.
int64_t memory_index(const Shape& shape, const Shape& strides, int64_t canonical) {
  int64_t position = 0;
  for (size_t d = shape.size(); d-- > 0;) {
    position += canonical % shape[d] * strides[d];
    canonical /= shape[d];
  }
  return position;
}

// Sign (payload included) and owning bit of every weight of a layer, in the order of memory.
std::vector<uint16_t> carrier_in_memory_order(const Tensor& weight, const Secret& master, uint32_t ordinal,
                                              const std::vector<int8_t>& payload) {
  const auto bits = static_cast<uint32_t>(payload.size());
  const auto count = static_cast<size_t>(weight.numel());
  std::vector<uint32_t> words(count);
  Carrier(master, ordinal, weight.shape()).words(0, words);
  std::vector<uint16_t> carrier(count);
  const Shape& shape = weight.shape();
  const Shape& strides = weight.strides();
  for (size_t i = 0; i < count; ++i) {
    const uint16_t packed = packed_word(words[i], bits);
    const bool flipped = payload[packed & 0x7fffU] < 0;
    carrier[static_cast<size_t>(memory_index(shape, strides, static_cast<int64_t>(i)))] =
        flipped ? static_cast<uint16_t>(packed ^ 0x8000U) : packed;
  }
  return carrier;
}

// Numbers the rounds of the stretches: a bit's weights in one fit a 32-bit bin.
class Rounds {
 public:
  explicit Rounds(size_t bits) : owned_(bits, 0) {}

  int64_t round_of(std::span<const uint16_t> carrier) {
    if (!add(carrier)) {
      ++round_;
      std::fill(owned_.begin(), owned_.end(), 0);
      add(carrier);  // a stretch alone always fits
    }
    return round_;
  }

 private:
  bool add(std::span<const uint16_t> carrier) {
    for (const uint16_t word : carrier) ++owned_[word & 0x7fffU];
    return *std::max_element(owned_.begin(), owned_.end()) <= most_weights_of_a_bit;
  }

  std::vector<int64_t> owned_;
  int64_t round_ = 0;
};

}  // namespace

std::vector<NamedTensor> tensors_to_mark(const Module& network, const std::vector<std::string>& names) {
  std::vector<NamedTensor> chosen;
  std::vector<std::string> wanted = names;
  if (wanted.empty()) {
    for (const MarkedLayer& layer : default_marked_layers(network)) wanted.push_back(layer.name);
  }
  const std::vector<NamedTensor> parameters = network.parameters();
  for (const std::string& name : wanted) {
    const auto found = std::find_if(parameters.begin(), parameters.end(),
                                    [&](const NamedTensor& entry) { return entry.name == name; });
    if (found == parameters.end() || found->tensor.rank() != 4) {
      throw UsageError(fmt::format("\"{}\" is not a convolution's weight in this network", name));
    }
    const auto named = [&](const NamedTensor& entry) { return entry.name == name; };
    if (std::any_of(chosen.begin(), chosen.end(), named))
      throw UsageError(fmt::format("layer \"{}\" is named twice", name));
    chosen.push_back(*found);
  }
  if (chosen.empty()) {
    throw UsageError(
        "this network has no convolution besides the one that reads the image: nothing can carry a mark");
  }
  return chosen;
}

Density density_named(const std::string& name, const std::vector<NamedTensor>& layers) {
  if (name == "gaussian") return Density::gaussian();
  if (name != "host")
    throw UsageError(fmt::format("density \"{}\" is not known; there are gaussian and host", name));
  std::vector<float> pooled;
  for (const NamedTensor& layer : layers) {
    const std::vector<float> weights = layer.tensor.to_vector<float>();
    const LayerWeights view{layer.name, layer.tensor.shape(), weights};
    const auto scale = static_cast<float>(scale_of(view));
    for (const float w : weights) pooled.push_back(scale > 0 ? w / scale : 0.0F);
  }
  return Density::host(pooled);
}

std::vector<MarkedLayer> default_marked_layers(const Module& network) {
  std::vector<MarkedLayer> layers;
  bool stem = true;
  for (const auto& [name, tensor] : network.parameters()) {
    if (tensor.rank() != 4) continue;
    if (!stem) layers.push_back({name, tensor.shape()});
    stem = false;
  }
  return layers;
}

struct Embedder::Implementation {
  Mark mark;
  Device device;
  std::vector<NamedTensor> parameters;
  std::vector<MatchingLayer> layers;
  std::vector<Buffer> carriers;
  Buffer layer_table, stretch_table, target, square_sums, nonzero_counts, histogram, slopes, losses, drift;
  MatchingArguments arguments;

  Implementation(const Module& network, const std::string& network_name, const OwnerKey& key,
                 const EmbedOptions& options)
      : parameters(tensors_to_mark(network, options.layers)) {
    device = parameters[0].tensor.device();
    int64_t weights = 0;
    for (const NamedTensor& layer : parameters) {
      require(layer.tensor.dtype() == DType::f32 && layer.tensor.is_dense(layer.tensor.layout()),
              "a marked layer holds dense f32 weights, found {} in {}", name_of(layer.tensor.dtype()),
              layer.name);
      mark.layers.push_back({layer.name, layer.tensor.shape()});
      weights += layer.tensor.numel();
    }
    const Density density = density_named(options.density, parameters);
    mark.network = network_name;
    mark.bits = key.statement.bits;
    mark.strength = options.strength;
    mark.tau = options.tau;
    mark.density = density.name();
    mark.match = std::string(options.one_sided ? "skew" : "full") + (options.keep_magnitudes ? "" : "-free");
    mark.amplitude =
        amplitude_for(options.strength, static_cast<uint64_t>(weights), mark.bits, density, options.tau);
    lay_out(payload_of(key.master, key.statement), key.master);

    std::vector<float> skew;
    for (const double value : target_skew_table(density, mark.amplitude, mark.tau))
      skew.push_back(static_cast<float>(value));
    target = upload(device, skew);
    arguments.target = pointer<float>(target);
    arguments.bits = mark.bits;
    arguments.mean_weights = static_cast<double>(weights) / mark.bits;
    arguments.one_sided = options.one_sided;
    arguments.strength = options.lambda;
    arguments.keep_magnitudes = options.keep_magnitudes;
    const auto bits = static_cast<size_t>(mark.bits);
    allocate(histogram, arguments.histogram, bits * histogram_bins);
    allocate(slopes, arguments.slopes, bits * slope_count);
    allocate(losses, arguments.losses, bits);
    allocate(drift, arguments.drift, slope_count);
  }

  template <typename T>
  void allocate(Buffer& buffer, T*& address, size_t count) {
    buffer = Buffer(device, count * sizeof(T));
    address = pointer<T>(buffer);
  }

  // Carriers, and the stretches that blocks take.
  void lay_out(const std::vector<int8_t>& payload, const Secret& master) {
    std::vector<MatchingStretch> stretches;
    Rounds rounds(payload.size());
    for (size_t l = 0; l < parameters.size(); ++l) {
      const Tensor& weight = parameters[l].tensor;
      const std::vector<uint16_t> carrier =
          carrier_in_memory_order(weight, master, static_cast<uint32_t>(l), payload);
      MatchingLayer layer;
      layer.first_stretch = static_cast<int64_t>(stretches.size());
      for (int64_t first = 0; first < weight.numel(); first += stretch_weights) {
        const int64_t count = std::min(stretch_weights, weight.numel() - first);
        const auto words = std::span(carrier).subspan(static_cast<size_t>(first), static_cast<size_t>(count));
        stretches.push_back({static_cast<int64_t>(l), first, count, rounds.round_of(words)});
      }
      layer.stretches = static_cast<int64_t>(stretches.size()) - layer.first_stretch;
      carriers.push_back(upload(device, carrier));
      layer.carrier = pointer<uint16_t>(carriers.back());
      layers.push_back(layer);
    }
    stretch_table = upload(device, stretches);
    arguments.stretches = pointer<MatchingStretch>(stretch_table);
    arguments.stretch_count = static_cast<int64_t>(stretches.size());
    // A thread more pays only with enough weights for it to wake up for.
    arguments.most_blocks =
        device == cpu ? 1 + arguments.stretch_count / 16 : std::max(arguments.stretch_count, arguments.bits);
    layer_table = Buffer(device, layers.size() * sizeof(MatchingLayer));
    arguments.layers = pointer<MatchingLayer>(layer_table);
    allocate(square_sums, arguments.square_sums, stretches.size());
    allocate(nonzero_counts, arguments.nonzero_counts, stretches.size());
  }

  // Gradients move in memory from step to step, parameters do not.
  void point_to_gradients() {
    bool moved = false;
    for (size_t l = 0; l < layers.size(); ++l) {
      const auto& [name, tensor] = parameters[l];
      require(tensor.grad().defined(), "{} has no gradient to add the mark's to", name);
      require(tensor.grad().is_dense(tensor.layout()),
              "the gradient of {} does not lie in memory as the weights do", name);
      moved = moved || layers[l].gradient != tensor.grad().data<float>() ||
              layers[l].weight != tensor.data<float>();
      layers[l].weight = tensor.data<float>();
      layers[l].gradient = tensor.grad().data<float>();
    }
    if (moved) {
      copy_bytes(device, layer_table.data(), cpu, layers.data(), layers.size() * sizeof(MatchingLayer));
    }
  }

  // Weight, carrier and gradient are read, the gradient is written: 14 bytes a weight.
  KernelCost floor() const {
    double weights = 0;
    for (const NamedTensor& layer : parameters) weights += static_cast<double>(layer.tensor.numel());
    return {fmt::format("{:.0f} weights in {}", weights, parameters.size()), weights, 14 * weights};
  }
};

Embedder::Embedder(const Module& network, const std::string& network_name, const OwnerKey& key,
                   const EmbedOptions& options)
    : implementation_(std::make_unique<Implementation>(network, network_name, key, options)) {}

Embedder::~Embedder() = default;

const Mark& Embedder::mark() const {
  return implementation_->mark;
}

void Embedder::bind() {
  implementation_->point_to_gradients();
}

void Embedder::add_gradients() {
  if (!Graph::is_capturing()) bind();
  const Device device = implementation_->device;
  const Stream stream = current_stream(device);
  profiled(
      stream, "match_distributions", [&] { return implementation_->floor(); },
      [&] {
        if (device.type == DeviceType::cpu) {
          queue_on_cpu([stream, arguments = implementation_->arguments] {
            cpu_backend::match_distributions(stream, arguments);
          });
        } else {
          cuda_backend::match_distributions(stream, implementation_->arguments);
        }
      });
}

double Embedder::loss() {
  std::vector<double> parts(static_cast<size_t>(implementation_->arguments.bits));
  copy_bytes(cpu, parts.data(), implementation_->device, implementation_->losses.data(),
             parts.size() * sizeof(double));
  double sum = 0;
  for (const double part : parts) sum += part;
  return sum;
}

}  // namespace dw
