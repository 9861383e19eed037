#include "experiments/demo.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "experiments/commands/command.h"
#include "experiments/number_checks.h"

namespace dw {
namespace {

struct Options {
  std::string data = "synthetic";
  std::filesystem::path out = "out/demo";
  bool quick = false;
  int64_t epochs = 0, image_size = 0, limit = 0;
  double strength = 0;
  CommonOptions common;
};

// Small enough for minutes on two cores, long enough that the mark settles.
DemoPlan plan_of(const Options& options) {
  DemoPlan plan;
  plan.data = options.data;
  plan.out = options.out;
  plan.seed = options.common.seed;
  plan.device = parse_device(options.common.device);
  plan.recipe.batch = 64;
  plan.recipe.epochs = options.quick ? 6 : 10;
  plan.load.limit_train = options.quick ? 3000 : 10000;
  plan.load.limit_test = options.quick ? 500 : 2000;
  if (options.data == "synthetic")
    plan.data = options.quick ? "synthetic:train=3000,test=500" : "synthetic:train=8000,test=2000";
  if (options.epochs > 0) plan.recipe.epochs = options.epochs;
  if (options.limit > 0) plan.load.limit_train = options.limit;
  if (options.strength > 0) plan.strength = options.strength;
  plan.load.image_size = options.image_size;
  return plan;
}

std::string command_of(const Options& options) {
  std::string command = "./deepwater.sh demo";
  if (options.quick) command += " --quick";
  if (options.data != "synthetic") command += " --data " + options.data;
  if (options.epochs > 0) command += fmt::format(" --epochs {}", options.epochs);
  if (options.limit > 0) command += fmt::format(" --limit {}", options.limit);
  if (options.image_size > 0) command += fmt::format(" --image-size {}", options.image_size);
  if (options.strength > 0) command += fmt::format(" --strength {}", options.strength);
  return command + fmt::format(" --seed {} --device {}", options.common.seed, options.common.device);
}

int run(const Options& options) {
  apply_common_options(options.common);
  const DemoResult result = run_demo(plan_of(options));
  write_demo_report(result, command_of(options));
  if (options.common.json) {
    fmt::print("{}\n", to_json(result));
  } else {
    fmt::print("{}\n", demo_table(result).text());
    fmt::print("accuracy: marked {}, unmarked {}\n", percent(result.marked_accuracy()),
               percent(result.unmarked_accuracy()));
    fmt::print("report:   {}\n", (options.out / "report.html").string());
  }
  require(result.succeeded(), "a verdict is not the one this demo must show; see {}",
          (options.out / "report.html").string());
  return 0;
}

}  // namespace

void add_demo_command(CLI::App& program, Action& action) {
  auto options = std::make_shared<Options>();
  options->common.seed = 1;
  CLI::App& app =
      *program.add_subcommand("demo", "The whole story in a few minutes: mark, prune, prove, report");
  app.add_option("--data", options->data, "synthetic, or a folder of images: see `deepwater data --help`")
      ->capture_default_str();
  app.add_option("--out", options->out, "Folder for keys, models and report.html")->capture_default_str();
  app.add_flag("--quick", options->quick, "Fewer images and epochs: about a minute, less accuracy");
  app.add_option("--epochs", options->epochs, "Passes over the training images")->check(positive_number());
  app.add_option("--limit", options->limit, "Use at most this many training images")
      ->check(positive_number());
  app.add_option("--image-size", options->image_size, "Resize pictures to this many pixels a side")
      ->check(positive_number());
  app.add_option("--strength", options->strength, "z*: standard errors by which each bit is to stand out")
      ->check(positive_number());
  add_common_options(app, options->common);
  app.footer(R"(Examples:
  deepwater demo
  deepwater demo --data images/     a folder with train/CLASS/* and test/CLASS/*

Makes an owner's key, trains a WRN-10-1 with the mark and one without, prunes the marked one, and verifies: the owner
must be recognised up to 95 % pruning, a stranger's key and the unmarked network must fail. Exit code 1 if not.)");
  app.callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace dw
