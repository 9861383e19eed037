#include <fmt/format.h>

#include <CLI/CLI.hpp>

#include "experiments/command_line.h"
#include "experiments/commands/command.h"
#include "experiments/inspect_report.h"
#include "experiments/text.h"
#include "kernels/error.h"

namespace dw {
namespace {

struct Options {
  std::vector<std::filesystem::path> models;
  std::filesystem::path report;
  bool fits = true;
  CommonOptions common;
};

std::string command_of(const Options& options) {
  std::string command = "deepwater inspect";
  for (const std::filesystem::path& model : options.models) command += " " + model.string();
  return command + " --report " + options.report.string();
}

void print(const FileReport& file) {
  int64_t values = 0;
  for (const TensorReport& tensor : file.tensors) values += tensor.facts.count;
  for (const auto& [name, value] : file.metadata)
    fmt::print("{:<14} {}\n", one_line(name), fit_width(one_line(value), 100));
  fmt::print("{}{} values in {} tensors\n", tensor_table(file).text(locale_is_utf8()), values,
             file.tensors.size());
}

int run(const Options& options) {
  apply_common_options(options.common);
  std::error_code ignored;
  for (const std::filesystem::path& model : options.models) {
    if (!options.report.empty() && std::filesystem::equivalent(model, options.report, ignored))
      throw UsageError(fmt::format("{} would be replaced by its report: give another file", model.string()));
  }
  std::vector<FileReport> files;
  for (const std::filesystem::path& model : options.models)
    files.push_back(inspect_file(model, options.fits));
  if (!options.report.empty()) write_inspect_report(files, command_of(options), options.report);
  if (options.common.json) {
    fmt::print("{}\n", to_json(files));
    return 0;
  }
  for (const FileReport& file : files) {
    if (files.size() > 1) fmt::print("{}{}\n", &file == files.data() ? "" : "\n", file.path.string());
    print(file);
  }
  if (const std::vector<FamilyRanking> ranking = rank_families(files); !ranking.empty())
    fmt::print("\n{}", ranking_table(ranking).text(locale_is_utf8()));
  return 0;
}

}  // namespace

void add_inspect_command(CLI::App& program, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App& app =
      *program.add_subcommand("inspect", "Weights of model files: moments and best-fitting distributions");
  app.add_option("model", options->models, "Model files (safetensors, any network)")->required();
  app.add_option("--report", options->report,
                 "Also write a page with tables, histograms and Q-Q plots (HTML)");
  app.add_flag("!--no-fits", options->fits, "Moments only: fits take about a second for a million weights");
  add_common_options(app, options->common);
  app.footer(fmt::format(
      "Example:\n  deepwater inspect model.safetensors\n"
      "  deepwater inspect marked.safetensors unmarked.safetensors --report weights.html\n\n"
      "scale is the root mean square of the non-zero values, the unit in which the mark reads weights.\n"
      "Normal, Laplace, logistic, Student-t and generalised normal distributions are fitted to the non-zero "
      "weights by\nmaximum likelihood and ranked by Akaike's criterion; of more than {} weights, to that "
      "many "
      "of them.",
      format_count(largest_sample)));
  app.callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace dw
