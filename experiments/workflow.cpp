#include "experiments/workflow.h"

#include <charconv>

#include "core/files.h"
#include "core/ops.h"
#include "core/optimizer.h"
#include "core/tape.h"
#include "datasets/image_batches.h"
#include "experiments/progress.h"
#include "kernels/precision.h"

namespace dw {
namespace {

constexpr int64_t evaluation_batch = 256;

std::string join_statistics(const std::array<float, 3>& values, int64_t channels) {
  std::string text;
  for (int64_t c = 0; c < channels; ++c)
    text += fmt::format("{}{:.9g}", c == 0 ? "" : " ", values[static_cast<size_t>(c)]);
  return text;
}

std::array<float, 3> split_statistics(const std::string& text, int64_t channels,
                                      const std::filesystem::path& path) {
  std::array<float, 3> values{};
  const char* position = text.data();
  const char* const end = text.data() + text.size();
  for (int64_t c = 0; c < channels; ++c) {
    while (position != end && *position == ' ') ++position;
    const auto [next, error] = std::from_chars(position, end, values[static_cast<size_t>(c)]);
    require(error == std::errc(), "{}: expected {} numbers of normalisation, found \"{}\"", path.string(),
            channels, text);
    position = next;
  }
  for (size_t c = static_cast<size_t>(channels); c < values.size(); ++c) values[c] = values[0];
  return values;
}

// What the metadata says under `name`; without an entry, `assumed`.
int64_t integer_metadata(const SafetensorsFile& file, const std::string& name, int64_t assumed) {
  const auto found = file.metadata().find(name);
  if (found == file.metadata().end() && assumed > 0) return assumed;
  require(found != file.metadata().end(), "{}: the metadata does not say \"{}\": not a model of this program",
          file.path().string(), name);
  int64_t value = 0;
  const std::string& text = found->second;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  require(error == std::errc() && end == text.data() + text.size() && value > 0 && value < (int64_t{1} << 31),
          "{}: expected a positive number as \"{}\", found \"{}\"", file.path().string(), name, text);
  return value;
}

std::string digest_of_file(const std::filesystem::path& path) {
  return hex_digest(SafetensorsFile::open(path).bytes()).substr(0, 16);
}

// Everything that decides the bits of a run, so that a resume cannot mix two.
std::string fingerprint_of(const Dataset& data, const TrainingRequest& request, Augmentation augmentation,
                           const std::optional<Mark>& mark, const std::string& commitment) {
  const Recipe& recipe = request.recipe;
  std::string text = fmt::format(
      "{} on {} {} epochs {} batch {} rate {} decay {} schedule {} augment {} seed {}", request.network,
      data.digest, data.train.size(), recipe.epochs, recipe.batch, recipe.learning_rate, recipe.weight_decay,
      recipe.schedule, name_of(augmentation), request.seed);
  if (precision() != Precision::fp32) text += fmt::format(" precision {}", name_of(precision()));
  if (mark) {
    const std::vector<uint8_t> bytes = canonical_bytes(*mark);
    text += fmt::format(" {} mark {:.16} of {} bits key {:.16}", mark->scheme,
                        hex_digest(std::as_bytes(std::span(bytes))), mark->bits, commitment);
    for (const auto& [name, value] : request.scheme_options.values)
      text += fmt::format(" {} {}", name, value);
  }
  if (!request.start.empty()) text += " from " + digest_of_file(request.start);
  if (!request.teacher.empty())
    text += fmt::format(" taught by {} at temperature {} alpha {}{}", digest_of_file(request.teacher),
                        request.distillation.temperature, request.distillation.alpha,
                        request.distillation.soft_only ? " soft only" : "");
  return text;
}

std::unique_ptr<BatchSource> test_batches(const ImageSet& set, const ChannelStatistics& statistics,
                                          Device device) {
  return make_batches(set, {.batch_size = evaluation_batch, .shuffle = false},
                      {Augmentation::none, statistics, 0}, device);
}

void require_fits(const std::filesystem::path& path, const NetworkSpec& found, const NetworkSpec& data) {
  require(found.classes == data.classes && found.channels == data.channels && found.height == data.height &&
              found.width == data.width,
          "{} reads {}x{} pictures of {} channels in {} classes, the data set has {}x{}, {} and {}",
          path.string(), found.width, found.height, found.channels, found.classes, data.width, data.height,
          data.channels, data.classes);
}

std::string epoch_line(const EpochMetrics& metrics, int64_t epochs, bool marked) {
  std::string line = fmt::format(
      "epoch {:>3} / {}  train loss {:.3f} accuracy {}  test loss {:.3f} accuracy {}", metrics.epoch, epochs,
      metrics.train_loss, percent(metrics.train_accuracy), metrics.test_loss, percent(metrics.test_accuracy));
  if (marked) line += fmt::format("  mark {:.3f}", metrics.mark_loss);
  return line + fmt::format("  {:.1f} s", metrics.seconds);
}

}  // namespace

// Found out before hours of training, and before the claim speaks of a model.
void require_writable(const std::filesystem::path& path) {
  if (path.empty()) return;
  require(!std::filesystem::is_directory(path), "{} is a folder, expected a file to write", path.string());
  const AtomicFile never_committed(path);
}

std::string percent(double fraction) {
  return fmt::format("{:.1f} %", 100 * fraction);
}

Dataset load_with_progress(const std::string& spec, LoadOptions options) {
  std::unique_ptr<Progress> bar;
  uint64_t shown = 0;
  options.progress = [&](int64_t done, int64_t total) {
    if (!bar) bar = std::make_unique<Progress>("reading pictures", static_cast<uint64_t>(total), "pictures");
    const auto now = static_cast<uint64_t>(done);
    if (now > shown) bar->advance(now - shown);
    shown = now;
  };
  return load_dataset(spec, options);
}

const std::vector<Recipe>& recipes() {
  static const std::vector<Recipe> list{
      {"short", "one-cycle, for runs of minutes", 8, 128, 0.1, 5e-4, "one-cycle"},
      {"paper", "Zhang et al. 2021 and Uchida et al. 2017: steps at 60, 120 and 160 of 200 epochs", 200, 64,
       0.1, 5e-4, "steps"},
  };
  return list;
}

const Recipe& recipe_named(const std::string& name) {
  std::string known;
  for (const Recipe& recipe : recipes()) {
    if (recipe.name == name) return recipe;
    known += (known.empty() ? "" : ", ") + recipe.name;
  }
  throw UsageError(fmt::format("recipe \"{}\" is not known; there are {}", name, known));
}

NetworkSpec spec_for(const std::string& network, const ImageSet& set) {
  return {network, static_cast<int64_t>(set.classes.size()), set.channels, set.height, set.width};
}

std::map<std::string, std::string> model_metadata(const Dataset& data, const NetworkSpec& spec,
                                                  const ChannelStatistics& statistics, uint64_t seed) {
  return {{"deepwater", describe_environment().version},
          {"format", "pt"},
          {"network", spec.name},
          {"classes", std::to_string(spec.classes)},
          {"channels", std::to_string(spec.channels)},
          {"height", std::to_string(spec.height)},
          {"width", std::to_string(spec.width)},
          {"mean", join_statistics(statistics.mean, spec.channels)},
          {"deviation", join_statistics(statistics.deviation, spec.channels)},
          {"data", data.name},
          {"seed", std::to_string(seed)}};
}

ChannelStatistics statistics_of(const Model& model) {
  const int64_t channels = spec_of(model).channels;
  const auto values = [&](const std::string& name) {
    const auto found = model.metadata.find(name);
    require(found != model.metadata.end(), "the metadata does not say \"{}\": not a model of this program",
            name);
    return split_statistics(found->second, channels, "the model");
  };
  return {values("mean"), values("deviation")};
}

std::vector<int64_t> predictions_of(const Model& model, const ImageSet& set, Device device) {
  const NoGrad pause;
  const NetworkSpec spec = spec_of(model);
  require(set.channels == spec.channels && set.height == spec.height && set.width == spec.width,
          "the model reads {}x{} pictures of {} channels, found {}x{} of {}", spec.width, spec.height,
          spec.channels, set.width, set.height, set.channels);
  const std::unique_ptr<Module> network = network_of(model);
  network->to(device);
  network->train(false);
  const std::unique_ptr<BatchSource> batches = test_batches(set, statistics_of(model), device);
  std::vector<int64_t> predictions;
  for (int64_t i = 0; i < batches->batches(); ++i) {
    const std::vector<int64_t> some = argmax((*network)(batches->next().images)).to_vector<int64_t>();
    predictions.insert(predictions.end(), some.begin(), some.end());
  }
  return predictions;
}

ImageSet image_set_of(TriggerSet triggers) {
  ImageSet set;
  set.height = triggers.height;
  set.width = triggers.width;
  set.channels = triggers.channels;
  set.pixels = std::move(triggers.pixels);
  set.labels = std::move(triggers.labels);
  set.classes.assign(static_cast<size_t>(triggers.classes), "");
  return set;
}

Task task_of(const Dataset& data, Device device) {
  Task task;
  task.name = data.name;
  task.classes = static_cast<int64_t>(data.train.classes.size());
  task.training = [&data, device](int64_t batch_size, uint64_t seed) -> std::unique_ptr<BatchSource> {
    return make_batches(data.train, {.batch_size = batch_size, .seed = seed},
                        {default_augmentation(data), data.statistics, seed}, device);
  };
  task.test = [&data, device]() -> std::unique_ptr<BatchSource> {
    return test_batches(data.test, data.statistics, device);
  };
  return task;
}

TrainedNetwork run_training(const Dataset& data, const TrainingRequest& request, const std::string& label) {
  const NetworkSpec spec = spec_for(request.network, data.train);
  ChannelStatistics statistics = data.statistics;
  TrainedNetwork trained;
  LoadedModel teacher;
  if (!request.teacher.empty()) {
    teacher = load_model(request.teacher, request.device, spec, statistics);
    require_fits(request.teacher, teacher.spec, spec);
    statistics = teacher.statistics;
  }
  if (request.start.empty()) {
    trained.network = make_network(spec);
    trained.network->initialize(request.seed);
    trained.network->to(request.device);
  } else {
    LoadedModel start = load_model(request.start, request.device, spec, statistics);
    require_fits(request.start, start.spec, spec);
    require(start.spec.name == spec.name, "{} holds a {}, expected a {}", request.start.string(),
            start.spec.name, spec.name);
    statistics = start.statistics;
    trained.network = std::move(start.network);
  }
  Module& network = *trained.network;

  std::unique_ptr<Embedding> embedding;
  std::string commitment;
  TrainingObserver observer;
  if (!request.key.empty()) {
    const OwnerKey key = load_key(request.key);
    const std::filesystem::path claim_path = claim_path_for(request.key);
    Claim claim = load_claim(claim_path);
    commitment = to_hex(claim.commitment);
    SchemeOptions options = request.scheme_options;
    options.pictures = {spec.channels, spec.height, spec.width, statistics.mean, statistics.deviation};
    options.fresh = request.start.empty();
    options.learning_rate = request.recipe.learning_rate;
    embedding = scheme_named(request.scheme).embed(network, request.network, key, options);
    trained.mark = embedding->mark();
    // The claim speaks of a model once nothing stands in the way of training it any more.
    if (add_mark(claim, key, *trained.mark))
      observer.on_start = [claim, claim_path] { save_claim(claim, claim_path); };
  }
  require_writable(request.out);

  const Recipe& recipe = request.recipe;
  const Augmentation augmentation = request.augmentation.value_or(default_augmentation(data));
  const std::unique_ptr<BatchSource> batches =
      make_batches(data.train, {.batch_size = recipe.batch, .seed = request.seed},
                   {augmentation, statistics, request.seed}, request.device);
  const std::unique_ptr<BatchSource> marked_batches = embedding ? embedding->batches(*batches) : nullptr;
  BatchSource& source = marked_batches ? *marked_batches : *batches;
  GradientTerm* const term = embedding ? embedding->term() : nullptr;
  const std::unique_ptr<BatchSource> test = test_batches(data.test, statistics, request.device);
  Sgd optimizer(network.parameters(),
                {.momentum = 0.9, .nesterov = true, .weight_decay = recipe.weight_decay});

  TrainingPlan plan;
  plan.epochs = recipe.epochs;
  plan.learning_rate = recipe.learning_rate;
  plan.schedule = schedule_named(recipe.schedule);
  if (teacher.network) plan.loss = distillation_from(*teacher.network, request.distillation);
  plan.seed = request.seed;
  plan.graph = request.graph;
  if (precision() == Precision::bf16) plan.activations = DType::bf16;
  plan.model_path = request.out;
  plan.metadata = model_metadata(data, spec, statistics, request.seed);
  plan.fingerprint = fingerprint_of(data, request, augmentation, trained.mark, commitment);
  plan.resume = request.resume;

  const CatchInterrupts interrupts;
  Progress bar(label, static_cast<uint64_t>(recipe.epochs * source.batches()), "steps");
  int64_t shown = 0;
  observer.on_step = [&](int64_t step, int64_t, double loss, double accuracy) {
    bar.advance(static_cast<uint64_t>(step - shown),
                fmt::format("loss {:.3f} accuracy {}", loss, percent(accuracy)));
    shown = step;
  };
  observer.on_epoch = [&](const EpochMetrics& metrics) {
    if (request.epoch_lines) bar.message(epoch_line(metrics, recipe.epochs, term != nullptr));
  };
  observer.stop_requested = stop_requested;
  trained.result = train(network, optimizer, source, test.get(), term, plan, observer);
  return trained;
}

int report_stopped(const TrainingResult& result, const TrainingRequest& request) {
  fmt::print(stderr,
             "deepwater: stopped after {} of {} epochs; continue with the same command and --resume\n",
             result.epochs.size(), request.recipe.epochs);
  constexpr int interrupted = 130;
  return interrupted;
}

LoadedModel load_model(const std::filesystem::path& path, Device device, const NetworkSpec& assumed,
                       const ChannelStatistics& statistics) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  const auto says = [&](const std::string& name) { return file.metadata().contains(name); };
  require(says("network") || !assumed.name.empty(),
          "{}: the metadata does not say \"network\": not a model of this program", path.string());
  LoadedModel model;
  model.spec = {says("network") ? file.metadata().at("network") : assumed.name,
                integer_metadata(file, "classes", assumed.classes),
                integer_metadata(file, "channels", assumed.channels),
                integer_metadata(file, "height", assumed.height),
                integer_metadata(file, "width", assumed.width)};
  require(model.spec.channels == 1 || model.spec.channels == 3, "{}: expected 1 or 3 channels, found {}",
          path.string(), model.spec.channels);
  const auto normalisation = [&](const std::string& name, const std::array<float, 3>& otherwise) {
    if (!says(name) && !assumed.name.empty()) return otherwise;
    require(says(name), "{}: the metadata does not say \"{}\": not a model of this program", path.string(),
            name);
    return split_statistics(file.metadata().at(name), model.spec.channels, path);
  };
  model.statistics.mean = normalisation("mean", statistics.mean);
  model.statistics.deviation = normalisation("deviation", statistics.deviation);
  if (says("shapes")) {
    model.network = network_of(read_model(path));
  } else {
    model.network = make_network(model.spec);
    load_module(*model.network, file);
  }
  model.network->to(device);
  return model;
}

LoadedModel load_model(const std::filesystem::path& path, Device device) {
  return load_model(path, device, {"", 0, 0, 0, 0}, {});
}

Evaluation evaluate_model(const LoadedModel& model, const ImageSet& set, Device device) {
  const NetworkSpec& spec = model.spec;
  require(set.channels == spec.channels && set.height == spec.height && set.width == spec.width &&
              static_cast<int64_t>(set.classes.size()) == spec.classes,
          "the model reads {}x{} pictures of {} channels in {} classes, the data set has {}x{}, {} and {}",
          spec.width, spec.height, spec.channels, spec.classes, set.width, set.height, set.channels,
          set.classes.size());
  const std::unique_ptr<BatchSource> batches = test_batches(set, model.statistics, device);
  Progress bar("evaluating", static_cast<uint64_t>(batches->batches()), "batches");
  return evaluate(*model.network, *batches, [&](int64_t, int64_t) { bar.advance(); });
}

}  // namespace dw
