#include "experiments/data_free.h"

#include <algorithm>
#include <cmath>

#include "core/ops.h"
#include "core/optimizer.h"
#include "core/tape.h"
#include "experiments/progress.h"

namespace dw {
namespace {

// The parameters the mark is in, in its order.
std::vector<NamedTensor> marked_parameters(const Module& network, const Mark& mark) {
  std::vector<NamedTensor> marked;
  const std::vector<NamedTensor> all = network.parameters();
  for (const MarkedLayer& layer : mark.layers) {
    const auto found = std::find_if(all.begin(), all.end(),
                                    [&](const NamedTensor& entry) { return entry.name == layer.name; });
    require(found != all.end(), "the network has no weight \"{}\"", layer.name);
    marked.push_back(*found);
  }
  return marked;
}

double norm_of(const Tensor& tensor) {
  return std::sqrt(sum(square(tensor.to(DType::f64))).item());
}

}  // namespace

DataFreeResult embed_without_data(const DataFreeRequest& request) {
  const LoadedModel model = load_model(request.model, request.device, request.assumed, request.statistics);
  const OwnerKey key = load_key(request.key);
  const std::filesystem::path claim_path = claim_path_for(request.key);
  Claim claim = load_claim(claim_path);
  SchemeOptions options = request.options;
  options.without_data = true;
  const std::unique_ptr<Embedding> embedding =
      scheme_named(request.scheme).embed(*model.network, model.spec.name, key, options);
  GradientTerm* const term = embedding->term();
  if (term == nullptr) {
    throw UsageError(
        fmt::format("scheme {} works through training data: it cannot embed without", request.scheme));
  }
  const std::vector<NamedTensor> marked = marked_parameters(*model.network, embedding->mark());
  std::vector<Tensor> original;
  for (const NamedTensor& layer : marked) original.push_back(layer.tensor.detach().clone());

  require_writable(request.out);

  const NoGrad pause;
  Sgd optimizer(marked, {.momentum = 0.9, .nesterov = true, .weight_decay = 0});
  const Schedule schedule = cosine_schedule();
  DataFreeResult result;
  result.mark = embedding->mark();
  Progress bar("embedding without data", static_cast<uint64_t>(request.steps), "steps");
  for (int64_t step = 0; step < request.steps; ++step) {
    for (size_t i = 0; i < marked.size(); ++i) {
      const Tensor& weight = marked[i].tensor;
      weight.set_grad(multiply(subtract(weight.detach(), original[i]), request.pull));
    }
    term->add_gradients();
    if (step == 0) result.first_loss = term->loss();
    optimizer.set_learning_rate(request.rate *
                                schedule(static_cast<double>(step) / static_cast<double>(request.steps)));
    optimizer.step();
    bar.advance();
  }
  result.last_loss = term->loss();

  double moved = 0, whole = 0;
  for (size_t i = 0; i < marked.size(); ++i) {
    require(all_finite(marked[i].tensor), "{} did not stay finite: try a smaller rate or lambda",
            marked[i].name);
    const double change = norm_of(subtract(marked[i].tensor.detach(), original[i]));
    const double norm = norm_of(original[i]);
    moved += change * change;
    whole += norm * norm;
    result.layers.push_back({marked[i].name, change / norm});
  }
  result.moved = std::sqrt(moved / whole);
  if (add_mark(claim, key, result.mark)) save_claim(claim, claim_path);
  std::map<std::string, std::string> metadata = SafetensorsFile::open(request.model).metadata();
  metadata.insert({{"network", model.spec.name},
                   {"classes", std::to_string(model.spec.classes)},
                   {"channels", std::to_string(model.spec.channels)},
                   {"height", std::to_string(model.spec.height)},
                   {"width", std::to_string(model.spec.width)}});
  save_module(*model.network, request.out, metadata);
  return result;
}

}  // namespace dw
