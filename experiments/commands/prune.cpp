#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "experiments/command_line.h"
#include "experiments/commands/command.h"
#include "experiments/table.h"
#include "watermark/pruning.h"

namespace dw {
namespace {

struct Options {
  std::filesystem::path in, out;
  double fraction = 0;
  std::string scope = "layer";
  CommonOptions common;
};

int run(const Options& options) {
  apply_common_options(options.common);
  const PruningReport report =
      prune_model(options.in, options.out, options.fraction, parse_pruning_scope(options.scope));
  const double zeros = static_cast<double>(report.zeros) / static_cast<double>(report.weights);
  if (options.common.json) {
    const nlohmann::ordered_json result = {{"model", options.out.string()},
                                           {"weights", report.weights},
                                           {"zeros", report.zeros},
                                           {"fraction", zeros},
                                           {"scope", options.scope}};
    fmt::print("{}\n", result.dump(2));
    return 0;
  }
  if (!options.common.quiet) {
    Table table({"weights of", "count", "zeros", "%"});
    for (const PruningReport::Layer& layer : report.layers)
      table.add_row({layer.name, std::to_string(layer.weights), std::to_string(layer.zeros),
                     fmt::format("{:.1f}", 100.0 * static_cast<double>(layer.zeros) /
                                               static_cast<double>(layer.weights))});
    fmt::print("{}", table.text());
  }
  fmt::print("{}: {} of {} weights are zero ({:.1f} %)\n", options.out.string(), report.zeros, report.weights,
             100 * zeros);
  return 0;
}

}  // namespace

void add_prune_command(CLI::App& program, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App& app = *program.add_subcommand("prune", "Set the smallest weights of a model file to zero");
  app.add_option("in", options->in, "Model file (safetensors, any network)")->required();
  app.add_option("out", options->out, "Pruned copy")->required();
  app.add_option("--fraction", options->fraction,
                 "Share of the weights to remove, from 0 up to but not including 1")
      ->required();
  app.add_option("--scope", options->scope,
                 "layer: that share of every layer; global: of all weights together")
      ->check(CLI::IsMember({"layer", "global"}))
      ->capture_default_str();
  add_common_options(app, options->common);
  app.footer(
      "Example:\n  deepwater prune --fraction 0.95 model.safetensors pruned.safetensors\n\n"
      "Convolutions and fully connected layers are pruned; biases and batch norm are not.");
  app.callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace dw
