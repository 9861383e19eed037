#include "experiments/commands/marking_options.h"
#include "experiments/number_checks.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "kernels/error.h"

namespace dw {

void add_marking_options(CLI::App& app, MarkingOptions& options) {
  app.add_option("--scheme", options.scheme, "How to mark, see below")->capture_default_str();
  app.add_option("--option", options.options, "NAME=VALUE of the scheme, see below; as often as needed")
      ->allow_extra_args(false);
  app.add_option("--strength", options.strength,
                 "Same as --option strength=: standard errors by which each bit is to stand out")
      ->check(positive_number());
  app.add_option("--lambda", options.lambda, "Same as --option lambda=: weight of the mark's loss")
      ->check(positive_number());
  app.add_option("--match", options.match, "Same as --option match=: what holds bits to their target");
  app.add_option("--density", options.density, "Same as --option density=: natural density of the weights");
  app.add_option(
      "--layers", options.layers,
      "Weights that carry the mark; default: the scheme's choice, ours: every convolution but the first");
}

SchemeOptions scheme_options_of(const MarkingOptions& options) {
  SchemeOptions chosen{.layers = options.layers};
  const auto add = [&](const std::string& name, const std::string& value) {
    if (!chosen.values.emplace(name, value).second)
      throw UsageError(fmt::format("option {} is given twice", name));
  };
  for (const std::string& option : options.options) {
    const size_t equals = option.find('=');
    if (equals == std::string::npos || equals == 0)
      throw UsageError(fmt::format("--option expects name=value, found \"{}\"", option));
    add(option.substr(0, equals), option.substr(equals + 1));
  }
  if (!options.strength.empty()) add("strength", options.strength);
  if (!options.lambda.empty()) add("lambda", options.lambda);
  if (!options.match.empty()) add("match", options.match);
  if (!options.density.empty()) add("density", options.density);
  return chosen;
}

std::string scheme_help() {
  std::string text;
  for (const Scheme* scheme : schemes())
    text += fmt::format("  {:<16} {}\n", scheme->name(), scheme->description());
  return text;
}

}  // namespace dw
