#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "core/safetensors.h"
#include "experiments/command_line.h"
#include "experiments/commands/command.h"
#include "experiments/table.h"

namespace dw {
namespace {

struct Options {
  std::filesystem::path model;
  CommonOptions common;
};

struct LayerFacts {
  std::string name, dtype, shape;
  int64_t count = 0, zeros = 0;
  double mean = 0, deviation = 0;
  double scale = 0;     // root mean square of the non-zero values
  double kurtosis = 0;  // fourth moment over squared variance; 3 for a normal distribution
};

LayerFacts facts_of(const std::string& name, const SafetensorsEntry& entry, const SafetensorsFile& file) {
  LayerFacts facts{name, entry.dtype, fmt::format("{}", fmt::join(entry.shape, "x"))};
  const std::vector<float> values = file.read_f32(name);
  facts.count = static_cast<int64_t>(values.size());
  double sum = 0, squares = 0;
  for (const float value : values) {
    sum += value;
    squares += static_cast<double>(value) * value;
    facts.zeros += value == 0;
  }
  const auto n = static_cast<double>(values.size());
  if (values.empty()) return facts;
  facts.mean = sum / n;
  double second = 0, fourth = 0;
  for (const float value : values) {
    const double square = (value - facts.mean) * (value - facts.mean);
    second += square;
    fourth += square * square;
  }
  facts.deviation = std::sqrt(second / n);
  facts.scale = facts.count > facts.zeros ? std::sqrt(squares / (n - static_cast<double>(facts.zeros))) : 0;
  facts.kurtosis = second > 0 ? n * fourth / (second * second) : 0;
  return facts;
}

int run(const Options& options) {
  apply_common_options(options.common);
  const SafetensorsFile file = SafetensorsFile::open(options.model);
  std::vector<LayerFacts> layers;
  int64_t parameters = 0;
  for (const auto& [name, entry] : file.entries()) {
    const bool floating =
        entry.dtype == "F32" || entry.dtype == "F64" || entry.dtype == "F16" || entry.dtype == "BF16";
    if (!floating) continue;
    layers.push_back(facts_of(name, entry, file));
    parameters += layers.back().count;
  }
  if (options.common.json) {
    nlohmann::ordered_json result = {{"model", options.model.string()},
                                     {"metadata", file.metadata()},
                                     {"values", parameters},
                                     {"layers", nlohmann::ordered_json::array()}};
    for (const LayerFacts& layer : layers)
      result["layers"].push_back({{"name", layer.name},
                                  {"dtype", layer.dtype},
                                  {"shape", layer.shape},
                                  {"count", layer.count},
                                  {"zeros", layer.zeros},
                                  {"mean", layer.mean},
                                  {"deviation", layer.deviation},
                                  {"scale", layer.scale},
                                  {"kurtosis", layer.kurtosis}});
    fmt::print("{}\n", result.dump(2));
    return 0;
  }
  for (const auto& [name, value] : file.metadata()) fmt::print("{:<14} {}\n", name, value);
  Table table({"tensor", "dtype", "shape", "zeros %", "mean", "σ", "scale", "kurtosis"});
  for (const LayerFacts& layer : layers) {
    const double zeros =
        layer.count > 0 ? 100.0 * static_cast<double>(layer.zeros) / static_cast<double>(layer.count) : 0;
    table.add_row({layer.name, layer.dtype, layer.shape, fmt::format("{:.1f}", zeros),
                   fmt::format("{:.5f}", layer.mean), fmt::format("{:.5f}", layer.deviation),
                   fmt::format("{:.5f}", layer.scale), fmt::format("{:.2f}", layer.kurtosis)});
  }
  fmt::print("{}{} values in {} tensors\n", table.text(), parameters, layers.size());
  return 0;
}

}  // namespace

void add_inspect_command(CLI::App& program, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App& app = *program.add_subcommand("inspect", "Tensors of a model file: shapes, scale, kurtosis");
  app.add_option("model", options->model, "Model file (safetensors, any network)")->required();
  add_common_options(app, options->common);
  app.footer(
      "Example:\n  deepwater inspect model.safetensors\n\n"
      "scale is the root mean square of the non-zero values, the unit in which the mark reads weights.");
  app.callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace dw
