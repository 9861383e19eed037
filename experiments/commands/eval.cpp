#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "experiments/commands/command.h"
#include "experiments/number_checks.h"
#include "experiments/profile_report.h"
#include "experiments/workflow.h"

namespace dw {
namespace {

struct Options {
  std::filesystem::path model;
  std::string data;
  int64_t image_size = 0;
  ProfileOptions profile;
  CommonOptions common;
};

int run(const Options& options) {
  apply_common_options(options.common);
  const Device device = parse_device(options.common.device);
  std::unique_ptr<Profile> profile = start_profile(options.profile, evaluation_step);
  const LoadedModel model = load_model(options.model, device);
  const Dataset data = load_with_progress(options.data, {.image_size = options.image_size});
  const Evaluation evaluation = evaluate_model(model, data.test, device);
  std::optional<ProfileReport> report;
  if (profile) report = report_of(std::move(profile), options.profile, device);
  if (options.common.json) {
    nlohmann::ordered_json result = {
        {"model", options.model.string()}, {"network", model.spec.name},      {"data", data.name},
        {"images", evaluation.samples},    {"accuracy", evaluation.accuracy}, {"loss", evaluation.loss}};
    if (report) result["profile"] = to_json(*report);
    fmt::print("{}\n", result.dump(2));
  } else {
    fmt::print("{}: accuracy {} on {} test images, loss {:.3f}\n", options.model.string(),
               percent(evaluation.accuracy), evaluation.samples, evaluation.loss);
    if (report) fmt::print("{}", to_text(*report));
  }
  return 0;
}

}  // namespace

void add_eval_command(CLI::App& program, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App& app =
      *program.add_subcommand("eval", "Accuracy and loss of a model file on a data set's test images");
  app.add_option("model", options->model, "Model file written by train or prune")->required();
  app.add_option("--data", options->data, "Data set, as for train")->required();
  app.add_option("--image-size", options->image_size, "Resize pictures to this many pixels a side")
      ->check(positive_number());
  add_profile_options(app, options->profile);
  add_common_options(app, options->common);
  app.footer(
      "Example:\n  deepwater eval --data synthetic out/marked/model.safetensors\n\n"
      "Pictures are normalised as the model's training images were.");
  app.callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace dw
