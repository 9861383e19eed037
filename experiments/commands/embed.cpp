#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cmath>
#include <nlohmann/json.hpp>

#include "experiments/commands/command.h"
#include "experiments/commands/marking_options.h"
#include "experiments/data_free.h"
#include "experiments/experiment.h"
#include "experiments/number_checks.h"

namespace dw {
namespace {

struct Options {
  std::filesystem::path model, teacher, out, key;
  std::string data, network;
  MarkingOptions marking;
  bool no_data = false, resume = false;
  int64_t epochs = 0, batch = 128, image_size = 0, limit = 0, steps = 1000, classes = 10;
  double rate = 0;
  DistillationOptions distillation;
  CommonOptions common;
};

void check(const Options& options) {
  const bool one = options.model.empty() != options.teacher.empty();
  if (!one)
    throw UsageError(
        "expected either --model (a network to mark) or --teacher (one to distil from into a fresh, marked "
        "student)");
  if (options.no_data && !options.teacher.empty())
    throw UsageError("a student learns from pictures: --teacher does not go with --no-data");
  if (options.no_data != options.data.empty())
    throw UsageError("expected either --data (a data set to train on) or --no-data (the weights alone)");
  if (options.out.filename().empty())
    throw UsageError(fmt::format("--out names the model file to write, found \"{}\"", options.out.string()));
  std::error_code ignored;
  for (const std::filesystem::path& in : {options.model, options.teacher})
    if (!in.empty() && std::filesystem::equivalent(in, options.out, ignored))
      throw UsageError(fmt::format("{} would be replaced: give another --out", in.string()));
}

// The network a file says it holds; else what --net says.
std::string network_of(const std::filesystem::path& path, const std::string& otherwise) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  const auto found = file.metadata().find("network");
  if (found != file.metadata().end()) return found->second;
  if (otherwise.empty())
    throw UsageError(
        fmt::format("{} does not say which network it holds: name it with --net", path.string()));
  return otherwise;
}

Mark last_mark(const std::filesystem::path& key, const Mark& embedded) {
  const Claim claim = load_claim(claim_path_for(key));
  for (const SignedMark& entry : claim.marks)
    if (entry.mark == embedded) return entry.mark;
  return embedded;
}

nlohmann::ordered_json reading_of(const Options& options, const Mark& mark) {
  const MarkReading reading =
      read_mark(read_model(options.out), load_key(options.key), last_mark(options.key, mark));
  return {{"scheme", mark.scheme},        {"bits", reading.bits},
          {"errors", reading.errors},     {"log2_p", reading.log2_p},
          {"layers", mark.layers.size()}, {"claim", claim_path_for(options.key).string()}};
}

std::string text_of(const nlohmann::ordered_json& mark) {
  return fmt::format("{} of {} bits read back, p = 2^{:.0f}; the claim {} names the mark",
                     mark["bits"].get<int>() - mark["errors"].get<int>(), mark["bits"].get<int>(),
                     mark["log2_p"].get<double>(), mark["claim"].get<std::string>());
}

int run_without_data(const Options& options) {
  DataFreeRequest request;
  request.model = options.model;
  request.out = options.out;
  request.key = options.key;
  request.scheme = options.marking.scheme;
  request.options = scheme_options_of(options.marking);
  request.device = parse_device(options.common.device);
  request.steps = options.steps;
  if (options.rate > 0) request.rate = options.rate;
  const std::string network = network_of(options.model, options.network);
  const int64_t side = options.image_size > 0 ? options.image_size : 32;
  request.assumed = {network, options.classes, 3, side, side};
  request.statistics = {{0.5F, 0.5F, 0.5F}, {0.25F, 0.25F, 0.25F}};
  const DataFreeResult result = embed_without_data(request);
  const nlohmann::ordered_json mark = reading_of(options, result.mark);
  if (options.common.json) {
    nlohmann::ordered_json layers = nlohmann::ordered_json::array();
    for (const DataFreeResult::Layer& layer : result.layers)
      layers.push_back({{"name", layer.name}, {"moved", layer.moved}});
    const nlohmann::ordered_json json = {{"situation", "no-data"},
                                         {"model", options.out.string()},
                                         {"network", network},
                                         {"mark_loss_before", result.first_loss},
                                         {"mark_loss", result.last_loss},
                                         {"moved", result.moved},
                                         {"layers", layers},
                                         {"mark", mark}};
    fmt::print("{}\n", json.dump(2));
    return 0;
  }
  fmt::print("{}: no picture read; the mark's loss went from {:.3g} to {:.3g}\n", options.out.string(),
             result.first_loss, result.last_loss);
  fmt::print(
      "marked weights moved by {} of their norm, the most {}\n", percent(result.moved),
      percent(std::max_element(result.layers.begin(), result.layers.end(), [](const auto& a, const auto& b) {
                return a.moved < b.moved;
              })->moved));
  fmt::print("{}\n`deepwater eval` tells the accuracy, where there are pictures\n", text_of(mark));
  return 0;
}

int run_with_data(const Options& options) {
  const bool distils = !options.teacher.empty();
  const std::filesystem::path& source = distils ? options.teacher : options.model;
  TrainingRequest request;
  const std::string source_network = network_of(source, options.network);
  request.network = options.network.empty() || !distils ? source_network : options.network;
  constexpr int64_t tuning_epochs = 3;
  constexpr double tuning_rate = 0.02;
  if (!distils) {
    request.recipe.epochs = tuning_epochs;
    request.recipe.learning_rate = tuning_rate;
  }
  if (options.epochs > 0) request.recipe.epochs = options.epochs;
  if (options.rate > 0) request.recipe.learning_rate = options.rate;
  request.recipe.batch = options.batch;
  request.seed = options.common.seed;
  request.device = parse_device(options.common.device);
  request.out = options.out;
  request.resume = options.resume;
  request.key = options.key;
  request.scheme = options.marking.scheme;
  request.scheme_options = scheme_options_of(options.marking);
  request.distillation = options.distillation;
  (distils ? request.teacher : request.start) = source;
  const Dataset data =
      load_with_progress(options.data, {.image_size = options.image_size, .limit_train = options.limit});
  const LoadedModel before =
      load_model(source, request.device, spec_for(source_network, data.train), data.statistics);
  const Evaluation found = evaluate_model(before, data.test, request.device);
  const TrainedNetwork trained = run_training(
      data, request, distils ? "distilling into " + request.network : "fine-tuning " + request.network);
  if (!trained.result.finished) return report_stopped(trained.result, request);
  const EpochMetrics& last = trained.result.epochs.back();
  const nlohmann::ordered_json mark = reading_of(options, *trained.mark);
  if (options.common.json) {
    const nlohmann::ordered_json json = {{"situation", distils ? "distil" : "fine-tune"},
                                         {"model", options.out.string()},
                                         {"network", request.network},
                                         {"data", data.name},
                                         {"epochs", last.epoch},
                                         {distils ? "teacher_accuracy" : "accuracy_before", found.accuracy},
                                         {"test_accuracy", last.test_accuracy},
                                         {"test_loss", last.test_loss},
                                         {"mark", mark}};
    fmt::print("{}\n", json.dump(2));
    return 0;
  }
  fmt::print("{}: test accuracy {}, {} {}\n{}\n", options.out.string(), percent(last.test_accuracy),
             distils ? "the teacher's" : "before", percent(found.accuracy), text_of(mark));
  return 0;
}

int run(const Options& options) {
  apply_common_options(options.common);
  check(options);
  return options.no_data ? run_without_data(options) : run_with_data(options);
}

}  // namespace

void add_embed_command(CLI::App& program, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App& app =
      *program.add_subcommand("embed", "Mark a finished network, with or without data, or a student of one");
  app.add_option("--model", options->model, "Finished network to mark (safetensors); it stays as it is");
  app.add_option("--teacher", options->teacher, "Finished network to distil into a fresh, marked student");
  app.add_option(
      "--net", options->network,
      "The student's network, default the teacher's; or what a brought file holds and does not say");
  app.add_option("--data", options->data, "Data set to train on: see `deepwater data --help`");
  app.add_flag("--no-data", options->no_data, "Change the marked weights alone, by as little as it takes");
  app.add_option("--key", options->key, "Owner's key; a signed entry is added to its claim")->required();
  app.add_option("--out", options->out, "Marked model file; metrics and checkpoint go beside it")->required();
  add_marking_options(app, options->marking);
  app.add_option("--epochs", options->epochs, "Passes over the training images; default 3, distilling 8")
      ->check(positive_number());
  app.add_option("--rate", options->rate,
                 "Peak learning rate; default 0.02 fine-tuning, 0.1 distilling and without data")
      ->check(positive_number());
  app.add_option("--batch", options->batch, "Images a step")->check(positive_number())->capture_default_str();
  app.add_option("--temperature", options->distillation.temperature, "Of the teacher's soft targets")
      ->check(positive_number())
      ->capture_default_str();
  app.add_option("--alpha", options->distillation.alpha, "Weight of the soft targets beside the true labels")
      ->check(CLI::Range(0.0, 1.0))
      ->capture_default_str();
  app.add_flag("--soft-only", options->distillation.soft_only, "Distil without the true labels");
  app.add_option("--steps", options->steps, "Steps without data")
      ->check(positive_number())
      ->capture_default_str();
  app.add_option("--classes", options->classes, "Without data: of a brought file that does not say")
      ->check(positive_number())
      ->capture_default_str();
  app.add_option("--image-size", options->image_size, "Resize pictures to this many pixels a side")
      ->check(positive_number());
  app.add_option("--limit", options->limit, "Use at most this many training images, balanced over classes")
      ->check(positive_number());
  app.add_flag("--resume", options->resume, "Continue from the checkpoint beside --out where there is one");
  add_common_options(app, options->common);
  app.footer(fmt::format(R"(Examples:
  deepwater embed --model plain.safetensors --data images/ --key owner.key --out marked.safetensors
  deepwater embed --model plain.safetensors --no-data --key owner.key --out marked.safetensors
  deepwater embed --teacher plain.safetensors --net wrn-10-1 --data images/ --key owner.key --out student.safetensors
  deepwater embed --model brought.safetensors --net wrn-28-10 --data images/ --key owner.key --out marked.safetensors

Three ways to mark what is trained already:
  --model with --data   fine-tunes: a few epochs on the task, with the mark
  --model, --no-data    reads no picture: minimises half the squared distance from the model plus the mark's loss,
                        and says how far the weights moved: by about strength / sqrt(weights a bit) of their norm,
                        for which nothing makes up; unless --layers says, only the fewest of the largest layers that
                        hold half of the weights are marked
  --teacher             trains a fresh student on the teacher's softened answers, with the true labels or, with
                        --soft-only, without

Schemes, with the defaults of their options:
{}
A brought file needs our tensor names (those of `deepwater train`) and, where its metadata does not say, --net; it is
then read with the data set's own normalisation. Ctrl-C saves a checkpoint (exit code 130); --resume goes on.)",
                         scheme_help()));
  app.callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace dw
