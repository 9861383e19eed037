// Benchmarks of the work around the kernels: data, mark, verification.
#include <unistd.h>

#include <filesystem>

#include "core/random.h"
#include "datasets/image_batches.h"
#include "experiments/benchmark_cases.h"
#include "layers/networks.h"
#include "watermark/embedder.h"
#include "watermark/model.h"
#include "watermark/verifier.h"

namespace dw {
namespace {

// Pictures of noise: what they show costs nothing.
ImageSet noise(int64_t count) {
  ImageSet set;
  set.height = set.width = 32;
  set.channels = 3;
  set.pixels.resize(static_cast<size_t>(count * set.image_bytes()));
  for (size_t i = 0; i < set.pixels.size(); ++i) set.pixels[i] = static_cast<uint8_t>(i * 2654435761U >> 24);
  set.labels.assign(static_cast<size_t>(count), 0);
  set.classes = {"one", "other"};
  return set;
}

constexpr ChannelStatistics statistics{{0.5F, 0.5F, 0.5F}, {0.25F, 0.25F, 0.25F}};

BenchmarkCase augmentation(int64_t batch, Augmentation kind, Device device) {
  return {fmt::format("augment/{}/b{}-3x32x32", name_of(kind), batch),
          [=] {
            const ImageSet set = noise(batch);
            const Tensor pixels = Tensor::from(set.pixels, {batch, 32, 32, 3}, device);
            const Tensor indices = Tensor::zeros({batch}, DType::i64, device);
            const Tensor epoch = Tensor::zeros({1}, DType::i64, device);
            const Tensor out = Tensor::empty({batch, 3, 32, 32}, DType::f32, device, Layout::channels_last);
            return [=] { augment(pixels, indices, epoch, {kind, statistics, 1}, out); };
          },
          true};
}

// One batch from the loader, on the device, augmented and normalised.
BenchmarkCase loading(int64_t batch, Device device) {
  return {fmt::format("next_batch/b{}-3x32x32", batch), [=]() -> std::function<void()> {
            struct Source {
              explicit Source(int64_t size, Device on)
                  : set(noise(64 * size)),
                    batches(make_batches(set, {.batch_size = size, .seed = 1},
                                         {Augmentation::standard, statistics, 1}, on)) {}
              ImageSet set;
              std::unique_ptr<BatchSource> batches;
            };
            const auto source = std::make_shared<Source>(batch, device);
            return [source] { static_cast<void>(source->batches->next()); };
          }};
}

std::unique_ptr<Module> initialised(const std::string& name, Device device) {
  std::unique_ptr<Module> network = make_network({.name = name});
  network->initialize(1);
  network->to(device);
  return network;
}

EmbedOptions embed_options() {
  return {.strength = 7};  // one that the smallest network has room for
}

BenchmarkCase mark_gradient(const std::string& name, Device device) {
  return {fmt::format("match_distributions/{}", name),
          [=]() -> std::function<void()> {
            const std::shared_ptr<Module> network = initialised(name, device);
            for (const auto& [parameter, tensor] : network->parameters())
              tensor.set_grad(Tensor::zeros_like(tensor));
            const auto embedder =
                std::make_shared<Embedder>(*network, name, generate_key("benchmark"), embed_options());
            return [network, embedder] { embedder->add_gradients(); };
          },
          true};
}

// A model file with an unmarked network, and a claim on it: what verification has to weigh is the same.
struct Evidence {
  explicit Evidence(const std::string& name)
      : key(generate_key("benchmark")),
        claim(make_claim(key)),
        path(std::filesystem::temp_directory_path() /
             fmt::format("deepwater-bench-{}-{}", ::getpid(), name)) {
    const std::unique_ptr<Module> network = initialised(name, cpu);
    add_mark(claim, key, Embedder(*network, name, key, embed_options()).mark());
    model = model_of(*network, {{"network", name}});
    write_model(model, path);
    bytes = static_cast<double>(std::filesystem::file_size(path));
  }
  Evidence(const Evidence&) = delete;
  Evidence& operator=(const Evidence&) = delete;
  ~Evidence() {
    std::error_code ignored;
    std::filesystem::remove(path, ignored);
  }

  /// Views of the marked layers.
  std::vector<LayerWeights> layers() const {
    std::vector<LayerWeights> views;
    for (const MarkedLayer& layer : mark().layers) {
      const ModelTensor& tensor = model.at(layer.name);
      views.push_back({tensor.name, tensor.shape, tensor.values});
    }
    return views;
  }
  const Mark& mark() const { return claim.marks[0].mark; }

  OwnerKey key;
  Claim claim;
  std::filesystem::path path;
  Model model;
  double bytes = 0;
};

BenchmarkCase reading(const std::string& name) {
  return {fmt::format("read_mark/{}", name), [=]() -> std::function<void()> {
            const auto evidence = std::make_shared<Evidence>(name);
            return [evidence] {
              const Reader reader(evidence->layers(), evidence->mark());
              static_cast<void>(reader.read(evidence->key.master,
                                            payload_of(evidence->key.master, evidence->key.statement)));
            };
          }};
}

BenchmarkCase verification(const std::string& name, int null_keys) {
  return {fmt::format("verify/{}/{}-null-keys", name, null_keys), [=]() -> std::function<void()> {
            const auto evidence = std::make_shared<Evidence>(name);
            return [evidence, null_keys] {
              static_cast<void>(verify(evidence->claim, evidence->key, SafetensorsFile::open(evidence->path),
                                       {.null_keys = null_keys}));
            };
          }};
}

}  // namespace

std::vector<BenchmarkCase> workflow_benchmarks(Device device) {
  std::vector<BenchmarkCase> cases;
  for (const Augmentation kind : {Augmentation::none, Augmentation::standard})
    cases.push_back(augmentation(128, kind, device));
  cases.push_back(loading(128, device));
  for (const char* network : {"wrn-10-1", "wrn-10-4", "wrn-28-2"})
    cases.push_back(mark_gradient(network, device));
  for (const char* network : {"wrn-10-1", "wrn-10-4"}) {
    cases.push_back(reading(network));
    cases.push_back(verification(network, 0));
    cases.push_back(verification(network, 100));
  }
  return cases;
}

}  // namespace dw
