#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "experiments/commands/command.h"
#include "experiments/commands/marking_options.h"
#include "experiments/number_checks.h"
#include "experiments/profile_report.h"
#include "experiments/workflow.h"
#include "watermark/scheme.h"

namespace dw {
namespace {

struct Options {
  std::string network = "wrn-10-1", data, recipe = "short", schedule, augmentation, graph = "auto";
  int64_t epochs = 0, batch = 0, image_size = 0, limit = 0;
  double rate = 0, decay = -1;
  std::filesystem::path out, key;
  MarkingOptions marking;
  bool resume = false;
  ProfileOptions profile;
  CommonOptions common;
};

TrainingRequest request_of(const Options& options) {
  TrainingRequest request;
  request.network = options.network;
  request.recipe = recipe_named(options.recipe);
  if (options.epochs > 0) request.recipe.epochs = options.epochs;
  if (options.batch > 0) request.recipe.batch = options.batch;
  if (options.rate > 0) request.recipe.learning_rate = options.rate;
  if (options.decay >= 0) request.recipe.weight_decay = options.decay;
  if (!options.schedule.empty()) request.recipe.schedule = options.schedule;
  static_cast<void>(schedule_named(request.recipe.schedule));
  if (!options.augmentation.empty()) request.augmentation = parse_augmentation(options.augmentation);
  request.seed = options.common.seed;
  request.device = parse_device(options.common.device);
  request.out = options.out;
  request.resume = options.resume;
  if (options.graph != "auto") request.graph = options.graph == "on";
  request.key = options.key;
  request.scheme = scheme_named(options.marking.scheme).name();
  if (options.key.empty() && (request.scheme != "deepwater" || !options.marking.options.empty()))
    throw UsageError("--scheme and --option say how to mark: they need --key");
  request.scheme_options = scheme_options_of(options.marking);
  return request;
}

int run(const Options& options) {
  apply_common_options(options.common);
  const TrainingRequest request = request_of(options);
  if (options.out.filename().empty())
    throw UsageError(fmt::format("--out names the model file to write, found \"{}\"", options.out.string()));
  std::unique_ptr<Profile> profile = start_profile(options.profile, training_step);
  const Dataset data =
      load_with_progress(options.data, {.image_size = options.image_size, .limit_train = options.limit});
  const TrainedNetwork trained = run_training(data, request, "training " + options.network);
  if (!trained.result.finished) {
    fmt::print(stderr,
               "deepwater: stopped after {} of {} epochs; continue with the same command and --resume\n",
               trained.result.epochs.size(), request.recipe.epochs);
    constexpr int interrupted = 130;
    return interrupted;
  }
  std::optional<ProfileReport> report;
  if (profile) report = report_of(std::move(profile), options.profile, request.device);
  if (!trained.result.finished) return report_stopped(trained.result, request);
  const EpochMetrics& last = trained.result.epochs.back();
  if (options.common.json) {
    nlohmann::ordered_json result = {{"model", options.out.string()},
                                     {"network", options.network},
                                     {"data", data.name},
                                     {"epochs", last.epoch},
                                     {"train_loss", last.train_loss},
                                     {"train_accuracy", last.train_accuracy},
                                     {"test_loss", last.test_loss},
                                     {"test_accuracy", last.test_accuracy}};
    if (trained.mark) {
      result["mark"] = {{"scheme", trained.mark->scheme},
                        {"bits", trained.mark->bits},
                        {"strength", trained.mark->strength},
                        {"amplitude", trained.mark->amplitude},
                        {"parameters", trained.mark->parameters},
                        {"layers", trained.mark->layers.size()},
                        {"claim", claim_path_for(options.key).string()}};
    }
    if (report) result["profile"] = to_json(*report);
    fmt::print("{}\n", result.dump(2));
  } else {
    fmt::print("{}: test accuracy {}, loss {:.3f}{}\n", options.out.string(), percent(last.test_accuracy),
               last.test_loss, trained.mark ? fmt::format(", {} bits embedded", trained.mark->bits) : "");
    if (report) fmt::print("{}", to_text(*report));
  }
  return 0;
}

std::string recipe_help() {
  std::string text;
  for (const Recipe& recipe : recipes())
    text += fmt::format("  {:<8} {}: {} epochs, batch {}, rate {}, weight decay {}\n", recipe.name,
                        recipe.description, recipe.epochs, recipe.batch, recipe.learning_rate,
                        recipe.weight_decay);
  return text;
}

std::string network_help() {
  std::string text;
  for (const NetworkHelp& network : known_networks())
    text += fmt::format("  {:<8} {}\n", network.name, network.description);
  return text;
}

}  // namespace

void add_train_command(CLI::App& program, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App& app = *program.add_subcommand("train", "Train a network, with a mark when a key is given");
  app.add_option("--net", options->network, "Network, see below")->capture_default_str();
  app.add_option("--data", options->data, "synthetic, or a folder of images: see `deepwater data --help`")
      ->required();
  app.add_option("--out", options->out,
                 "Model file; metrics.jsonl, the best model and the checkpoint go beside it")
      ->required();
  app.add_option("--key", options->key, "Owner's key: embed its mark, and add a signed entry to its claim");
  add_marking_options(app, options->marking);
  app.add_option("--recipe", options->recipe, "Starting point for the options below, see there")
      ->capture_default_str();
  app.add_option("--epochs", options->epochs, "Passes over the training images")->check(positive_number());
  app.add_option("--batch", options->batch, "Images a step")->check(positive_number());
  app.add_option("--lr", options->rate, "Peak learning rate")->check(positive_number());
  app.add_option("--schedule", options->schedule, fmt::format("{}", fmt::join(schedule_names(), ", ")));
  app.add_option("--weight-decay", options->decay, "L2 penalty on every parameter")
      ->check(non_negative_number());
  app.add_option("--augment", options->augmentation,
                 "none, crop, standard (crop and flip); default: by data set");
  app.add_option("--image-size", options->image_size, "Resize pictures to this many pixels a side")
      ->check(positive_number());
  app.add_option("--limit", options->limit, "Use at most this many training images, balanced over classes")
      ->check(positive_number());
  app.add_flag("--resume", options->resume, "Continue from the checkpoint beside --out where there is one");
  app.add_option("--graph", options->graph,
                 "Capture the training step once and replay it, with the same bits: auto does so on a GPU")
      ->check(CLI::IsMember({"auto", "on", "off"}))
      ->capture_default_str();
  add_profile_options(app, options->profile);
  add_common_options(app, options->common);
  app.footer(fmt::format(R"(Examples:
  deepwater train --net wrn-10-1 --data synthetic --out out/plain/model.safetensors
  deepwater train --net wrn-10-1 --data images/ --key owner.key --strength 7 --out out/marked/model.safetensors
  deepwater train --net wrn-10-1 --data images/ --key owner.key --scheme uchida --option matrix=random --out out/uchida/model.safetensors
  deepwater train --net wrn-28-10 --recipe paper --data cifar-10-batches-bin/ --out out/wide/model.safetensors --resume

Networks:
{}
Recipes (SGD with Nesterov momentum 0.9):
{}
Schemes, with the defaults of their options:
{}
Ctrl-C saves a checkpoint (exit code 130); --resume then ends with the same bits as an uninterrupted run on the CPU.)",
                         network_help(), recipe_help(), scheme_help()));
  app.callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace dw
