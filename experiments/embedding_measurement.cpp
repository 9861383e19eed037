#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/embedding_measurement.h"

namespace dw {
namespace {

double distance(const Model& model, const Model& host) {
  double moved = 0, whole = 0;
  bool stem = true;
  const std::unique_ptr<Module> network = make_network(spec_of(host));
  for (const NamedTensor& parameter : network->parameters()) {
    if (parameter.tensor.rank() != 4) continue;
    if (std::exchange(stem, false)) continue;
    const std::vector<float>& now = model.at(parameter.name).values;
    const std::vector<float>& before = host.at(parameter.name).values;
    for (size_t i = 0; i < now.size(); ++i) {
      const double change = double{now[i]} - double{before[i]};
      moved += change * change;
      whole += double{before[i]} * double{before[i]};
    }
  }
  return std::sqrt(moved / whole);
}

}  // namespace

void add_reading_heads(std::vector<std::string>& header) {
  header.insert(header.end(), {"bit errors", "log₂ p"});
  for (const int percent : pruned_percents) header.push_back(fmt::format("errors, {} % pruned", percent));
}

void add_readings(std::vector<std::string>& row, const EmbeddingMeasurement& measured) {
  for (size_t i = 0; i < 1 + pruned_percents.size(); ++i) {
    const bool read = i < measured.readings.size();
    row.push_back(read ? fmt::format("{}/{}", measured.readings[i].errors, measured.readings[i].bits) : "");
    if (i == 0) row.push_back(read ? fmt::format("{:.0f}", measured.readings[0].log2_p) : "");
  }
}

EmbeddingMeasurement measure_embedding(ExperimentContext& context, const NetworkRequest& request) {
  EmbeddingMeasurement result;
  const TrainedFile file = context.network(request);
  result.accuracy = 100 * file.accuracy;
  const bool continues =
      request.situation == Situation::fine_tune || request.situation == Situation::data_free;
  if (continues) {
    const Json moved = context.cell("distance of " + describe(request), [&]() -> Json {
      const TrainedFile host = context.network(request.host.front());
      return distance(read_model(file.model), read_model(host.model));
    });
    result.moved = moved.get<double>();
  }
  if (request.scheme.empty()) return result;
  const auto read_after = [&](const std::string& attack) {
    result.readings.push_back(reading_from(context.attacked(request, attack)));
  };
  read_after("");
  for (const int percent : pruned_percents) read_after(fmt::format("prune:{:g}", percent / 100.0));
  return result;
}

}  // namespace dw
