#include "experiments/experiment_workspace.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "experiments/data_free.h"
#include "experiments/progress.h"

namespace dw {
namespace {

namespace fs = std::filesystem;

constexpr const char* finished_format = "deepwater finished work 1";

std::string describe(const Recipe& recipe) {
  return fmt::format("{} epochs {} batch {} rate {} decay {} {}", recipe.name, recipe.epochs, recipe.batch,
                     recipe.learning_rate, recipe.weight_decay, recipe.schedule);
}

// The options of the scheme with the preset's strength; a finished network's is the scheme's to choose.
SchemeOptions options_of(const NetworkRequest& request, const PresetSettings& settings) {
  SchemeOptions options = request.options;
  const bool finished =
      request.situation == Situation::fine_tune || request.situation == Situation::data_free;
  if (request.scheme == "deepwater" && !finished)
    options.values.emplace("strength", fmt::format("{}", settings.strength));
  return options;
}

// Keys of experiments are derived, so a run that was cut between the two files makes them again.
fs::path key_in(const fs::path& folder, const OwnerKey& key) {
  fs::path path = folder / "owner.key";
  if (fs::exists(path) && fs::exists(claim_path_for(path))) return path;
  fs::remove(path);
  fs::remove(claim_path_for(path));
  save_key_and_claim(key, path);
  return path;
}

}  // namespace

Workspace::Workspace(const ExperimentContext::Options& options) : options_(options) {
  if (options.out.empty()) throw UsageError("expected --out FOLDER, where results are written and kept");
  data_spec_ = options.data.empty() ? settings().default_data : options.data;
  other_spec_ = options.other.empty() ? settings().default_other : options.other;
  if (data_spec_.empty()) {
    throw UsageError(fmt::format(
        "preset {} works on real pictures: --data names a data set such as a folder of CIFAR-10 (and "
        "--other a second one, such as Caltech-101); see docs/datasets.md, or try --preset smoke, "
        "which draws its own",
        settings().name));
  }
}

Dataset Workspace::load(const std::string& spec, const LoadOptions& limits) const {
  return load_with_progress(spec, limits);
}

const Dataset& Workspace::data() {
  if (!data_) data_ = std::make_unique<Dataset>(load(data_spec_, settings().data));
  return *data_;
}

const Dataset& Workspace::other() {
  if (!has_other()) {
    throw UsageError(
        fmt::format("preset {} transfers networks to a second data set: --other names one, such as a folder "
                    "of Caltech-101",
                    settings().name));
  }
  if (!other_) {
    LoadOptions limits = settings().other;
    limits.image_size = data().train.height;
    other_ = std::make_unique<Dataset>(load(other_spec_, limits));
    require(other_->train.channels == data().train.channels,
            "{} has pictures of {} channels and {} of {}: transfer needs equal ones", data_spec_,
            data().train.channels, other_spec_, other_->train.channels);
  }
  return *other_;
}

const Task& Workspace::task() {
  if (!task_) task_ = std::make_unique<Task>(task_of(data(), options_.device));
  return *task_;
}

const Task& Workspace::other_task() {
  if (!other_task_) other_task_ = std::make_unique<Task>(task_of(other(), options_.device));
  return *other_task_;
}

const std::string& Workspace::fingerprint() {
  if (fingerprint_.empty()) {
    const PresetSettings& preset = settings();
    fingerprint_ =
        fmt::format("preset {}: {}, {}, {}, strength {}; data {} of {} and {} pictures; seed {}", preset.name,
                    preset.network, describe(preset.recipe), describe(preset.fine_tuning), preset.strength,
                    data().digest, data().train.size(), data().test.size(), options_.seed);
  }
  return fingerprint_;
}

void Workspace::remember(const WorkRecord& record) {
  const auto same = [&](const WorkRecord& known) { return known.file == record.file; };
  if (std::none_of(networks_.begin(), networks_.end(), same)) networks_.push_back(record);
}

TrainedFile Workspace::network(const NetworkRequest& request) {
  const bool needs_host = request.situation != Situation::scratch;
  require(request.host.size() == (needs_host ? 1U : 0U), "a network request expects {} host, found {}",
          needs_host ? "one" : "no", request.host.size());
  require(request.data.empty() || request.data == "other", "data \"{}\": expected \"\" or \"other\"",
          request.data);
  const std::string name = dw::describe(request);
  std::string decided_by = fingerprint();
  if (request.data == "other") decided_by += "; other data " + other().digest;
  const fs::path folder = options_.out / "networks" / unique_slug(name, decided_by);
  const fs::path finished_path = folder / "network.json";
  TrainedFile file{folder / "model.safetensors", folder / "owner.key", folder / "owner.claim.json"};
  Json finished = read_finished(finished_path, name, decided_by);
  const bool recalled = !finished.is_null();
  if (!recalled) {
    const auto started = std::chrono::steady_clock::now();
    const double before = training_seconds_;  // a host's training adds to it on its own
    const TrainedFile trained = train(request, folder);
    training_seconds_ =
        before + std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
    write_finished(finished_path, name, decided_by, {{"accuracy", trained.accuracy}}, trained.seconds);
    finished = read_finished(finished_path, name, decided_by);
    fs::remove(checkpoint_path(file.model));
    fs::remove(best_model_path(file.model));
  }
  file.accuracy = finished.at("accuracy").get<double>();
  file.seconds = finished.at("seconds").get<double>();
  remember(record_of(finished, finished_path, recalled));
  return file;
}

TrainedFile Workspace::train(const NetworkRequest& request, const fs::path& folder) {
  const TrainedFile host = request.host.empty() ? TrainedFile{} : network(request.host.front());
  const auto started = std::chrono::steady_clock::now();
  const uint64_t seed = request.seed + 1000 * (options_.seed - 1);
  const fs::path key = key_in(folder, experiment_key(seed, request.bits));
  TrainedFile result{folder / "model.safetensors", key, claim_path_for(key)};
  const Dataset& pictures = request.data == "other" ? other() : data();
  if (request.situation == Situation::data_free) {
    DataFreeRequest work;
    work.model = host.model;
    work.out = result.model;
    work.key = key;
    work.scheme = request.scheme;
    work.options = options_of(request, settings());
    work.device = options_.device;
    embed_without_data(work);
    result.accuracy =
        evaluate_model(load_model(result.model, options_.device), pictures.test, options_.device).accuracy;
    result.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
  } else {
    TrainingRequest training;
    training.network = request.network.empty() ? settings().network : request.network;
    training.recipe = request.situation == Situation::fine_tune ? settings().fine_tuning : settings().recipe;
    if (request.epochs > 0) training.recipe.epochs = request.epochs;
    training.seed = seed;
    training.device = options_.device;
    training.out = result.model;
    training.resume = true;
    training.epoch_lines = false;
    if (!request.scheme.empty()) {
      training.key = key;
      training.scheme = request.scheme;
      training.scheme_options = options_of(request, settings());
    }
    if (request.situation == Situation::fine_tune) training.start = host.model;
    if (request.situation == Situation::distil || request.situation == Situation::distil_soft) {
      training.teacher = host.model;
      training.distillation.soft_only = request.situation == Situation::distil_soft;
    }
    const TrainedNetwork trained = run_training(pictures, training, "training " + dw::describe(request));
    if (!trained.result.finished) throw Interrupted();
    result.accuracy = trained.result.epochs.back().test_accuracy;
    for (const EpochMetrics& epoch : trained.result.epochs) result.seconds += epoch.seconds;
  }
  Progress(folder.filename().string(), 1, "networks")
      .message(fmt::format("network  {}: accuracy {}, {:.1f} s", dw::describe(request),
                           percent(result.accuracy), result.seconds));
  return result;
}

void write_finished(const fs::path& path, const std::string& name, const std::string& decided_by,
                    const Json& more, double seconds) {
  const Environment environment = describe_environment();
  Json json = {{"format", finished_format}, {"name", name}, {"decided_by", decided_by}};
  json.update(more);
  json["seconds"] = seconds;
  json["commit"] = environment.commit;
  json["date"] = environment.date;
  json["environment"] = environment_json();
  write_file_atomically(path, json.dump(1) + "\n");
}

Json read_finished(const fs::path& path, const std::string& name, const std::string& decided_by) {
  if (!fs::exists(path)) return nullptr;
  const Json json = Json::parse(read_text_file(path), nullptr, false);
  const auto text = [&](const char* field) -> std::string {
    return json.is_object() && json.contains(field) && json[field].is_string()
               ? json[field].get<std::string>()
               : "";
  };
  const bool complete = text("format") == finished_format && json.contains("seconds") &&
                        json["seconds"].is_number() && !text("commit").empty() && !text("date").empty();
  require(complete, "{} is not a file of finished work; delete it to have that work done again",
          path.string());
  require(text("name") == name && text("decided_by") == decided_by,
          "{} holds the work \"{}\" ({}), expected \"{}\" ({})", path.string(), text("name"),
          text("decided_by"), name, decided_by);
  return json;
}

WorkRecord record_of(const Json& finished, const fs::path& path, bool recalled) {
  return {finished.at("name").get<std::string>(), path,
          finished.at("seconds").get<double>(),   finished.at("commit").get<std::string>(),
          finished.at("date").get<std::string>(), recalled};
}

std::string slug_of(const std::string& text) {
  constexpr size_t longest = 80;
  std::string slug;
  for (const char c : text) {
    const bool kept = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.';
    const bool upper = c >= 'A' && c <= 'Z';
    if (kept || upper)
      slug += upper ? static_cast<char>(c - 'A' + 'a') : c;
    else if (!slug.empty() && slug.back() != '-')
      slug += '-';
  }
  slug.resize(std::min(slug.size(), longest));
  while (!slug.empty() && (slug.back() == '-' || slug.back() == '.')) slug.pop_back();
  return slug.empty() ? "work" : slug;
}

std::string unique_slug(const std::string& text, const std::string& decided_by) {
  const std::string whole = text + "\n" + decided_by;
  return slug_of(text) + "-" + hex_digest(std::as_bytes(std::span(whole))).substr(0, 10);
}

Json environment_json() {
  const Environment environment = describe_environment();
  return {{"cpu", environment.cpu},
          {"cores", environment.cores},
          {"threads", environment.threads},
          {"compiler", environment.compiler},
          {"version", environment.version}};
}

}  // namespace dw
