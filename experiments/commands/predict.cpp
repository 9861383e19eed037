// A model's labels of a folder of pictures: what an API would answer.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <nlohmann/json.hpp>

#include "core/ops.h"
#include "core/tape.h"
#include "datasets/image_file.h"
#include "experiments/commands/command.h"
#include "experiments/workflow.h"
#include "watermark/trigger_set.h"

namespace dw {
namespace {

struct Options {
  std::filesystem::path model, pictures, out;
  CommonOptions common;
};

std::vector<std::filesystem::path> pictures_in(const std::filesystem::path& folder) {
  require(std::filesystem::is_directory(folder), "{} is not a folder", folder.string());
  std::vector<std::filesystem::path> paths;
  for (const auto& entry : std::filesystem::directory_iterator(folder))
    if (entry.is_regular_file() && has_image_extension(entry.path())) paths.push_back(entry.path());
  require(!paths.empty(), "{}: no JPEG, PNG or BMP pictures", folder.string());
  std::sort(paths.begin(), paths.end());
  return paths;
}

// One picture as the network reads it: resized where needed, normalised, channel by channel.
void append_picture(const std::filesystem::path& path, const LoadedModel& model, std::vector<float>& values) {
  const NetworkSpec& spec = model.spec;
  Image image = read_image(path, spec.channels);
  std::vector<uint8_t> pixels = image.pixels;
  if (image.height != spec.height || image.width != spec.width) {
    pixels.resize(static_cast<size_t>(spec.height * spec.width * spec.channels));
    resize_image(image.pixels, image.height, image.width, pixels, spec.height, spec.width, spec.channels);
  }
  for (size_t i = 0; i < pixels.size(); ++i) {
    const size_t channel = i % static_cast<size_t>(spec.channels);
    values.push_back((static_cast<float>(pixels[i]) / 255 - model.statistics.mean[channel]) /
                     model.statistics.deviation[channel]);
  }
}

std::vector<int64_t> predict(const LoadedModel& model, const std::vector<std::filesystem::path>& paths,
                             Device device) {
  const NoGrad pause;
  model.network->train(false);
  std::vector<int64_t> labels;
  constexpr size_t batch = 128;
  for (size_t first = 0; first < paths.size(); first += batch) {
    const size_t count = std::min(batch, paths.size() - first);
    std::vector<float> values;
    for (size_t i = first; i < first + count; ++i) append_picture(paths[i], model, values);
    const NetworkSpec& spec = model.spec;
    const Tensor pictures =
        Tensor::from(values, {static_cast<int64_t>(count), spec.height, spec.width, spec.channels}, device)
            .permute({0, 3, 1, 2});
    const Tensor found = argmax((*model.network)(pictures.contiguous(Layout::channels_last)));
    for (const int64_t label : found.to_vector<int64_t>()) labels.push_back(label);
  }
  return labels;
}

int run(const Options& options) {
  apply_common_options(options.common);
  const Device device = parse_device(options.common.device);
  const LoadedModel model = load_model(options.model, device);
  const std::vector<int64_t> labels = predict(model, pictures_in(options.pictures), device);
  write_predictions(labels, options.out);
  if (options.common.json) {
    const nlohmann::ordered_json result = {{"predictions", options.out.string()},
                                           {"pictures", labels.size()}};
    fmt::print("{}\n", result.dump(2));
  } else {
    fmt::print("{}: {} labels\n", options.out.string(), labels.size());
  }
  return 0;
}

}  // namespace

void add_predict_command(CLI::App& program, Action& action) {
  auto options = std::make_shared<Options>();
  CLI::App& app = *program.add_subcommand("predict", "A model's labels of a folder of pictures, as CSV");
  app.add_option("model", options->model, "Model file written by train")->required();
  app.add_option("--pictures", options->pictures, "Folder; pictures are numbered from 0 in order of name")
      ->required();
  app.add_option("--out", options->out, "CSV file: index,label")->required();
  add_common_options(app, options->common);
  app.footer(
      "Example:\n  deepwater predict out/model.safetensors --pictures out/triggers --out out/answers.csv");
  app.callback([&action, options] { action = [options] { return run(*options); }; });
}

}  // namespace dw
