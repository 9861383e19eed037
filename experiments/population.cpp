#include "experiments/population.h"

#include <fmt/format.h>
#include <omp.h>

#include <atomic>
#include <cmath>
#include <exception>
#include <mutex>
#include <nlohmann/json.hpp>
#include <thread>

#include "core/ops.h"
#include "core/optimizer.h"
#include "core/tape.h"
#include "datasets/image_batches.h"
#include "experiments/progress.h"
#include "layers/networks.h"

namespace dw {
namespace {

/// The first batches of an epoch, at half the width and height where asked.
class FewBatches : public BatchSource {
 public:
  FewBatches(BatchSource& all, int64_t batches, bool halved)
      : all_(all), batches_(batches), halved_(halved) {}
  int64_t batches() const override { return batches_; }
  void seek(int64_t epoch, int64_t batch) override {
    const int64_t position = epoch * batches_ + batch;
    all_.seek(position / all_.batches(), position % all_.batches());
  }
  Batch next() override {
    Batch batch = all_.next();
    const NoGrad pause;
    if (halved_) batch.images = average_pool2d(batch.images, {.kernel = 2, .stride = 2});
    return batch;
  }

 private:
  BatchSource& all_;
  int64_t batches_;
  bool halved_;
};

struct One {
  WeightFeatures features;
  double training_accuracy = 0, bit_error_rate = 0, amplitude = 0, weights_per_bit = 0;
};

void read_back(const Model& model, const Scheme& scheme, const Mark& mark, const OwnerKey& key, One& result) {
  std::vector<LayerWeights> layers;
  for (const MarkedLayer& layer : mark.layers) {
    layers.push_back({layer.name, layer.shape, model.at(layer.name).values});
    result.weights_per_bit += static_cast<double>(weight_count(layer)) / mark.bits;
  }
  const std::vector<double> scores =
      scheme.reader(layers, mark)->scores(key.master, payload_of(key.master, key.statement));
  result.bit_error_rate = 1 - static_cast<double>(matches_of(scores).matches) / mark.bits;
}

One train_one(const Dataset& data, Device device, const Population& population, const PopulationPlan& plan,
              uint64_t seed) {
  const std::unique_ptr<Module> network = make_network(spec_for(population.network, data.train));
  network->initialize(seed);
  network->to(device);
  One result;
  const OwnerKey key = experiment_key(seed, population.bits);
  std::unique_ptr<Embedding> embedding;
  if (!population.scheme.empty()) {
    SchemeOptions options = population.options;
    options.fresh = true;
    embedding = scheme_named(population.scheme).embed(*network, population.network, key, options);
    if (population.scheme == "deepwater") result.amplitude = embedding->mark().amplitude;
  }
  ImageBatches pictures(data.train, {.batch_size = plan.batch, .seed = seed, .drop_last = true, .workers = 0},
                        {default_augmentation(data), data.statistics, seed}, device);
  FewBatches batches(pictures, plan.steps, plan.halved);
  Sgd optimizer(network->parameters(), {});
  TrainingPlan training;
  training.epochs = 1;
  training.seed = seed;
  TrainingObserver observer;
  observer.stop_requested = stop_requested;
  const TrainingResult trained = train(*network, optimizer, batches, nullptr,
                                       embedding ? embedding->term() : nullptr, training, observer);
  if (!trained.finished) throw Interrupted();
  result.training_accuracy = trained.epochs.back().train_accuracy;
  const Model model = model_of(*network, {});
  result.features = weight_features(model);
  if (embedding) read_back(model, scheme_named(population.scheme), embedding->mark(), key, result);
  return result;
}

std::vector<One> train_all(const Dataset& data, Device device, const Population& population,
                           const PopulationPlan& plan) {
  std::vector<One> results(static_cast<size_t>(plan.networks));
  Progress bar("training " + population.name, static_cast<uint64_t>(plan.networks), "networks");
  std::atomic<size_t> taken = 0;
  std::mutex mutex;
  std::exception_ptr failure;
  const auto work = [&] {
    // A small network gains little from more than one thread; many networks gain all.
    omp_set_num_threads(1);
    try {
      for (size_t i = taken++; i < results.size(); i = taken++) {
        results[i] = train_one(data, device, population, plan, plan.first_seed + i);
        bar.advance();
      }
    } catch (...) {
      const std::lock_guard lock(mutex);
      failure = std::current_exception();
      taken = results.size();
    }
  };
  {
    std::vector<std::jthread> workers;
    const int threads = device == cpu ? omp_get_max_threads() : 1;
    for (int i = 0; i < threads; ++i) workers.emplace_back(work);
  }
  if (failure) std::rethrow_exception(failure);
  return results;
}

std::string name_of(const Population& population, const PopulationPlan& plan) {
  std::string options;
  for (const auto& [name, value] : population.options.values) options += fmt::format(" {}={}", name, value);
  return fmt::format("population {} {}{} {} bits, {} networks from seed {}, {} steps of {}{}",
                     population.network, population.scheme.empty() ? "unmarked" : population.scheme, options,
                     population.bits, plan.networks, plan.first_seed, plan.steps, plan.batch,
                     plan.halved ? ", halved pictures" : "");
}

// Six digits are far below what training's randomness moves, and keep cells small.
double rounded(double value) {
  return value == 0 ? 0 : std::stod(fmt::format("{:.6g}", value));
}

}  // namespace

PopulationResult train_population(ExperimentContext& context, const Population& population,
                                  const PopulationPlan& plan) {
  const Json cell = context.cell(name_of(population, plan), [&] {
    const std::vector<One> all = train_all(context.data(), context.device(), population, plan);
    Json rows = Json::array();
    double accuracy = 0, errors = 0;
    for (const One& one : all) {
      Json row = Json::array();
      for (const double value : one.features.values) row.push_back(rounded(value));
      rows.push_back(row);
      accuracy += one.training_accuracy / static_cast<double>(all.size());
      errors += one.bit_error_rate / static_cast<double>(all.size());
    }
    return Json{{"names", all[0].features.names},
                {"training_accuracy", accuracy},
                {"bit_error_rate", errors},
                {"amplitude", all[0].amplitude},
                {"weights_per_bit", all[0].weights_per_bit},
                {"features", rows}};
  });
  PopulationResult result;
  result.names = cell.at("names").get<std::vector<std::string>>();
  result.features = cell.at("features").get<std::vector<std::vector<double>>>();
  result.training_accuracy = cell.at("training_accuracy").get<double>();
  result.bit_error_rate = cell.at("bit_error_rate").get<double>();
  result.amplitude = cell.at("amplitude").get<double>();
  result.weights_per_bit = cell.at("weights_per_bit").get<double>();
  return result;
}

}  // namespace dw
