#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>

#include "datasets/convert.h"
#include "experiments/commands/command.h"
#include "experiments/number_checks.h"
#include "experiments/progress.h"
#include "experiments/table.h"
#include "experiments/workflow.h"

namespace dw {
namespace {

struct Options {
  std::string spec, format = "cifar10";
  std::filesystem::path out;
  int64_t image_size = 0, limit = 0, rows = 0, columns = 12;
  bool compress = false;
  CommonOptions common;
};

int run_list(const Options& options) {
  apply_common_options(options.common);
  if (options.common.json) {
    nlohmann::ordered_json result = {{"readers", nlohmann::ordered_json::array()}};
    for (const DatasetReader& reader : dataset_readers())
      result["readers"].push_back({{"name", reader.name}, {"expects", reader.expects}});
    fmt::print("{}\n", result.dump(2));
    return 0;
  }
  Table table({"data set", "what SPEC looks like"});
  for (const DatasetReader& reader : dataset_readers())
    table.add_row({std::string(reader.name), std::string(reader.expects)});
  fmt::print("{}", table.text());
  return 0;
}

Dataset load(const Options& options) {
  apply_common_options(options.common);
  return load_with_progress(options.spec, {.image_size = options.image_size, .limit_train = options.limit});
}

int run_show(const Options& options) {
  const Dataset data = load(options);
  if (!options.out.empty()) {
    const auto classes = static_cast<int64_t>(data.train.classes.size());
    contact_sheet(data.train, options.rows > 0 ? options.rows : std::min<int64_t>(classes, 20),
                  options.columns, options.out);
  }
  nlohmann::ordered_json result;
  for (const auto& [name, value] : describe(data)) {
    if (options.common.json) {
      result[name] = value;
    } else {
      fmt::print("{:<16} {}\n", name, value);
    }
  }
  if (options.common.json) fmt::print("{}\n", result.dump(2));
  return 0;
}

int run_convert(const Options& options) {
  const Dataset data = load(options);
  if (options.format == "folder") {
    Progress bar("writing pictures", static_cast<uint64_t>(data.train.size() + data.test.size()), "pictures");
    int64_t shown = 0;
    write_folder(data, options.out, [&](int64_t done, int64_t) {
      bar.advance(static_cast<uint64_t>(done - shown));
      shown = done;
    });
  } else if (options.format == "idx") {
    write_idx(data, options.out, options.compress);
  } else {
    write_cifar(data, options.out,
                options.format == "cifar10" ? CifarFlavour::cifar10 : CifarFlavour::cifar100);
  }
  if (options.common.json) {
    const nlohmann::ordered_json result = {{"out", options.out.string()},
                                           {"format", options.format},
                                           {"train", data.train.size()},
                                           {"test", data.test.size()}};
    fmt::print("{}\n", result.dump(2));
  } else {
    fmt::print("{}: {} training and {} test images\n", options.out.string(), data.train.size(),
               data.test.size());
  }
  return 0;
}

void add_spec_options(CLI::App& app, Options& options) {
  app.add_option("spec", options.spec, "Data set, see `deepwater data list`")->required();
  app.add_option("--image-size", options.image_size, "Resize pictures to this many pixels a side")
      ->check(positive_number());
  app.add_option("--limit", options.limit, "At most this many training images, balanced over classes")
      ->check(positive_number());
}

void add(CLI::App& app, Action& action, const std::shared_ptr<Options>& options, int (*run)(const Options&)) {
  add_common_options(app, options->common);
  app.callback([&action, options, run] { action = [options, run] { return run(*options); }; });
}

}  // namespace

void add_data_command(CLI::App& program, Action& action) {
  CLI::App& app = *program.add_subcommand("data", "List, look at and convert data sets");
  app.require_subcommand(1);
  app.footer(R"(A data set is named by its SPEC: "synthetic", or a folder, whose contents say what it is.
Examples:
  deepwater data list
  deepwater data show synthetic --out sheet.png
  deepwater data convert images/ --format cifar10 --out images-bin/)");

  const auto list = std::make_shared<Options>();
  add(*app.add_subcommand("list", "The kinds of data set there are and what their SPEC looks like"), action,
      list, run_list);

  const auto show = std::make_shared<Options>();
  CLI::App& show_app = *app.add_subcommand("show", "What is in a data set, and a contact sheet of it");
  add_spec_options(show_app, *show);
  show_app.add_option("--out", show->out, "Write a PNG with one row a class");
  show_app.add_option("--rows", show->rows, "Rows of that picture; default: one a class, up to 20")
      ->check(positive_number());
  show_app.add_option("--columns", show->columns, "Columns of that picture")
      ->check(positive_number())
      ->capture_default_str();
  show_app.footer("Example:\n  deepwater data show synthetic --out sheet.png");
  add(show_app, action, show, run_show);

  const auto convert = std::make_shared<Options>();
  CLI::App& convert_app = *app.add_subcommand("convert", "Write a data set in another form");
  add_spec_options(convert_app, *convert);
  convert_app.add_option("--out", convert->out, "A new folder")->required();
  convert_app
      .add_option("--format", convert->format,
                  "cifar10, cifar100 (binary), idx (grey pictures) or folder (PNG)")
      ->check(CLI::IsMember({"cifar10", "cifar100", "idx", "folder"}))
      ->capture_default_str();
  convert_app.add_flag("--gzip", convert->compress, "Compress (idx)");
  convert_app.footer(
      "Example:\n  deepwater data convert images/ --image-size 32 --format cifar10 --out images-bin/");
  add(convert_app, action, convert, run_convert);
}

}  // namespace dw
