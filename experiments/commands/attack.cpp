#include "watermark/attack.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <optional>

#include "experiments/command_line.h"
#include "experiments/commands/command.h"
#include "experiments/number_checks.h"
#include "experiments/progress.h"
#include "experiments/workflow.h"

namespace dw {
namespace {

struct Options {
  std::string attacks, data, other;
  std::filesystem::path in, out;
  int64_t image_size = 0, limit = 0;
  CommonOptions common;
};

// Pictures as the stolen model reads them: its size, its normalisation.
Dataset load_for(const std::string& spec, const LoadedModel& victim, const Options& options) {
  Dataset data = load_with_progress(
      spec, {.image_size = options.image_size > 0 ? options.image_size : victim.spec.height,
             .limit_train = options.limit});
  require(data.train.channels == victim.spec.channels && data.train.height == victim.spec.height &&
              data.train.width == victim.spec.width,
          "the model reads {}x{} pictures of {} channels, {} has {}x{} of {}", victim.spec.width,
          victim.spec.height, victim.spec.channels, data.name, data.train.width, data.train.height,
          data.train.channels);
  data.statistics = victim.statistics;
  return data;
}

int run(const Options& options) {
  apply_common_options(options.common);
  const std::vector<std::unique_ptr<Attack>> attacks = parse_attacks(options.attacks);
  std::error_code ignored;
  if (std::filesystem::equivalent(options.in, options.out, ignored))
    throw UsageError(fmt::format("{} would be replaced: give another output file", options.in.string()));

  AttackContext context;
  context.device = parse_device(options.common.device);
  context.seed = options.common.seed;
  std::optional<Dataset> data, other;
  std::optional<Task> task, other_task;
  const auto prepare = [&](const std::string& spec, std::optional<Dataset>& set,
                           std::optional<Task>& its_task) {
    if (spec.empty()) return static_cast<const Task*>(nullptr);
    set = load_for(spec, load_model(options.in, cpu), options);
    its_task = task_of(*set, context.device);
    return static_cast<const Task*>(&*its_task);
  };
  context.task = prepare(options.data, data, task);
  context.other = prepare(options.other, other, other_task);
  std::unique_ptr<Progress> bar;
  int64_t shown = 0;
  context.progress = [&](int64_t step, int64_t steps) {
    if (step <= shown) bar.reset();
    if (!bar) {
      bar = std::make_unique<Progress>("attacking", static_cast<uint64_t>(steps), "steps");
      shown = 0;
    }
    bar->advance(static_cast<uint64_t>(step - shown));
    shown = step;
  };

  const AttackedModel victim{read_model(options.in), context.task};
  require_writable(options.out);
  AttackedModel result = apply_attacks(attacks, victim, context);
  bar.reset();
  std::string done;
  for (const auto& attack : attacks) done += (done.empty() ? "" : ",") + attack->text();
  result.model.metadata["attacked"] = done;
  std::optional<Evaluation> before, after;
  if (victim.task != nullptr) before = evaluate_model(victim.model, *victim.task, context.device);
  if (result.task != nullptr) after = evaluate_model(result.model, *result.task, context.device);
  write_model(result.model, options.out);

  if (options.common.json) {
    nlohmann::ordered_json object = {
        {"model", options.out.string()}, {"attack", done}, {"seed", options.common.seed}};
    if (before) object["accuracy_before"] = before->accuracy;
    if (after) object["accuracy"] = after->accuracy;
    if (result.task != nullptr) object["data"] = result.task->name;
    fmt::print("{}\n", object.dump(2));
  } else {
    fmt::print("{}: {}\n", options.out.string(), done);
    if (before) fmt::print("accuracy before {} on {}\n", percent(before->accuracy), victim.task->name);
    if (after) fmt::print("accuracy after  {} on {}\n", percent(after->accuracy), result.task->name);
  }
  return 0;
}

std::string attack_help() {
  std::string text;
  for (const AttackKind& kind : attack_kinds())
    text +=
        fmt::format("  {:<14} {}\n{}", kind.name, kind.description,
                    kind.options.empty() ? "" : fmt::format("  {:<14} {}:{}\n", "", kind.name, kind.options));
  return text;
}

}  // namespace

void add_attack_command(CLI::App& program, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App& app = *program.add_subcommand("attack", "Do to a model what a thief would do to lose its mark");
  app.add_option("attack", options->attacks, "Attacks, one after the other, see below")->required();
  app.add_option("in", options->in, "Model file written by this program")->required();
  app.add_option("out", options->out, "Attacked copy")->required();
  app.add_option("--data", options->data, "The thief's data, for attacks that train, and to judge accuracy");
  app.add_option("--other", options->other, "Another data set, to transfer to");
  app.add_option("--image-size", options->image_size,
                 "Resize pictures to this many pixels a side; default: the model's")
      ->check(positive_number());
  app.add_option("--limit", options->limit, "Use at most this many training images, balanced over classes")
      ->check(positive_number());
  add_common_options(app, options->common);
  app.footer(fmt::format(R"(Examples:
  deepwater attack prune:0.9 model.safetensors out/pruned.safetensors
  deepwater attack "permute,rescale,flip" model.safetensors out/disguised.safetensors
  deepwater attack "prune:0.9,finetune:5" --data images/ model.safetensors out/tuned.safetensors

NAME[:VALUE][:OPTION=VALUE]..., VALUE being the first option; defaults are shown:
{})",
                         attack_help()));
  app.callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace dw
