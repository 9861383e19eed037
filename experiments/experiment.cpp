#include "experiments/experiment.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "experiments/experiment_workspace.h"
#include "experiments/progress.h"
#include "watermark/trigger_set.h"

namespace dw {
namespace {

namespace fs = std::filesystem;

std::string name_of(Situation situation) {
  switch (situation) {
    case Situation::scratch:
      return "trained from scratch";
    case Situation::fine_tune:
      return "fine-tuned";
    case Situation::data_free:
      return "changed without data";
    case Situation::distil:
      return "distilled";
    case Situation::distil_soft:
      return "distilled without labels";
  }
  return "";
}

std::vector<PresetSettings> make_settings() {
  constexpr double decay = 5e-4;
  PresetSettings smoke;
  smoke.name = "smoke";
  smoke.description = "seconds, on drawn pictures: shows that everything runs, not what it is worth";
  smoke.network = "wrn-10-1";
  smoke.recipe = {"smoke", "", 1, 64, 0.1, decay, "one-cycle"};
  smoke.fine_tuning = {"smoke fine-tuning", "", 1, 64, 0.02, decay, "one-cycle"};
  smoke.default_data = "synthetic:train=192,test=64,seed=1";
  smoke.default_other = "synthetic:train=128,test=64,seed=2";

  PresetSettings quick;
  quick.name = "quick";
  quick.description = "minutes on two cores, on real pictures; WRN-10-1 stands in for WRN-10-4";
  quick.network = "wrn-10-1";
  quick.recipe = {"quick", "", 6, 128, 0.1, decay, "one-cycle"};
  quick.fine_tuning = {"quick fine-tuning", "", 3, 128, 0.02, decay, "one-cycle"};
  quick.data.limit_train = 10000;
  quick.data.limit_test = 2000;
  quick.other.limit_train = 3000;
  quick.other.limit_test = 1000;

  PresetSettings paper;
  paper.name = "paper";
  paper.description = "WRN-10-4, 200 epochs, every picture: for a GPU";
  paper.network = "wrn-10-4";
  paper.recipe = recipe_named("paper");
  paper.fine_tuning = {"paper fine-tuning", "", 20, 64, 0.02, decay, "one-cycle"};
  return {smoke, quick, paper};
}

}  // namespace

Interrupted::Interrupted()
    : std::runtime_error("stopped; what is finished is kept, and the same command goes on from there") {}

const PresetSettings& settings_of(Preset preset) {
  static const std::vector<PresetSettings> list = make_settings();
  return list[static_cast<size_t>(preset)];
}

Preset parse_preset(const std::string& name) {
  for (const Preset preset : {Preset::smoke, Preset::quick, Preset::paper})
    if (settings_of(preset).name == name) return preset;
  throw UsageError(fmt::format("preset \"{}\" is not known; there are smoke, quick and paper", name));
}

std::string describe(const NetworkRequest& request) {
  std::string text = request.scheme.empty() ? "unmarked" : request.scheme;
  if (!request.scheme.empty()) text += fmt::format(", {} bits", request.bits);
  for (const auto& [name, value] : request.options.values) text += fmt::format(", {} {}", name, value);
  if (!request.options.layers.empty())
    text += fmt::format(", layers {}", fmt::join(request.options.layers, " "));
  if (!request.network.empty()) text += ", " + request.network;
  if (request.epochs > 0) text += fmt::format(", {} epochs", request.epochs);
  if (request.data == "other") text += ", other data";
  text += fmt::format(", seed {}", request.seed);
  if (request.situation != Situation::scratch) text += ", " + name_of(request.situation);
  for (const NetworkRequest& host : request.host) text += fmt::format(" from ({})", describe(host));
  return text;
}

OwnerKey experiment_key(uint64_t seed, int bits) {
  const auto secret = [&](const std::string& purpose) {
    const std::string text = fmt::format("deepwater experiment {} {} {}", purpose, seed, bits);
    return Secret(Hasher().update(std::as_bytes(std::span(text))).finish());
  };
  OwnerKey key;
  key.master = secret("master");
  key.signing_seed = secret("signing");
  key.statement.owner = fmt::format("Experiment, seed {}", seed);
  key.statement.date = "2026-01-01T00:00:00Z";
  key.statement.bits = bits;
  key.statement.public_key = public_key_of(*key.signing_seed);
  return key;
}

namespace {

// A trigger set is read from what the network says to its pictures.
MarkReading read_trigger_set(const Model& model, const OwnerKey& key, const Mark& mark) {
  const ImageSet set = image_set_of(trigger_set_of(key.master, key.statement, mark));
  const std::vector<int64_t> answers = predictions_of(model, set, cpu);
  int right = 0;
  for (size_t i = 0; i < answers.size(); ++i) right += answers[i] == set.labels[i];
  const auto count = static_cast<int>(answers.size());
  const double tail = log2_binomial_tail(right, count, 1 / static_cast<double>(set.classes.size()));
  return {count, count - right, 0, std::min(0.0, tail)};
}

}  // namespace

MarkReading read_mark(const Model& model, const OwnerKey& key, const Mark& mark) {
  if (!scheme_named(mark.scheme).reads_weights()) return read_trigger_set(model, key, mark);
  const std::vector<double> scores =
      reader_of(model, mark)->scores(key.master, payload_of(key.master, key.statement));
  const Matches matches = matches_of(scores);
  return {mark.bits, mark.bits - matches.matches, mark.bits - matches.readable,
          log2_p_value(matches.matches, matches.readable)};
}

Json json_of(const MarkReading& reading) {
  return {{"bits", reading.bits},
          {"errors", reading.errors},
          {"erased", reading.erased},
          {"log2_p", reading.log2_p}};
}

MarkReading reading_from(const Json& json) {
  return {json.at("bits").get<int>(), json.at("errors").get<int>(), json.at("erased").get<int>(),
          json.at("log2_p").get<double>()};
}

MarkReading read_mark(const Model& model, const TrainedFile& owner) {
  const Claim claim = load_claim(owner.claim);
  require(!claim.marks.empty(), "{} has no mark to read", owner.claim.string());
  return read_mark(model, load_key(owner.key), claim.marks.front().mark);
}

const Experiment& experiment_named(const std::string& name) {
  std::string known;
  for (const Experiment& experiment : experiments()) {
    if (experiment.name == name) return experiment;
    known += (known.empty() ? "" : ", ") + experiment.name;
  }
  throw UsageError(fmt::format("experiment \"{}\" is not known; there are {}", name, known));
}

struct ExperimentContext::Implementation {
  std::string experiment;
  std::shared_ptr<Workspace> workspace;
  fs::path folder;
  std::vector<WorkRecord> cells;
  bool other_used = false;  // by the cell being computed

  void remember(const WorkRecord& record) {
    const auto same = [&](const WorkRecord& known) { return known.file == record.file; };
    if (std::none_of(cells.begin(), cells.end(), same)) cells.push_back(record);
  }
};

ExperimentContext::ExperimentContext(const std::string& experiment, std::shared_ptr<Workspace> workspace)
    : implementation_(std::make_unique<Implementation>()) {
  implementation_->experiment = experiment;
  implementation_->folder = workspace->options().out / experiment;
  implementation_->workspace = std::move(workspace);
}

ExperimentContext::ExperimentContext(const std::string& experiment, const Options& options)
    : ExperimentContext(experiment, std::make_shared<Workspace>(options)) {}

ExperimentContext::~ExperimentContext() = default;

Preset ExperimentContext::preset() const {
  return implementation_->workspace->options().preset;
}
const PresetSettings& ExperimentContext::settings() const {
  return implementation_->workspace->settings();
}
Device ExperimentContext::device() const {
  return implementation_->workspace->options().device;
}
uint64_t ExperimentContext::seed() const {
  return implementation_->workspace->options().seed;
}
const fs::path& ExperimentContext::folder() const {
  return implementation_->folder;
}
const std::vector<WorkRecord>& ExperimentContext::cells() const {
  return implementation_->cells;
}
const Dataset& ExperimentContext::data() {
  return implementation_->workspace->data();
}
const Task& ExperimentContext::task() {
  return implementation_->workspace->task();
}
const Dataset& ExperimentContext::other_data() {
  implementation_->other_used = true;
  return implementation_->workspace->other();
}
const Task& ExperimentContext::other() {
  implementation_->other_used = true;
  return implementation_->workspace->other_task();
}

TrainedFile ExperimentContext::network(const NetworkRequest& request) {
  return implementation_->workspace->network(request);
}

Json ExperimentContext::cell(const std::string& name, const std::function<Json()>& work) {
  Workspace& workspace = *implementation_->workspace;
  const std::string& decided_by = workspace.fingerprint();
  const fs::path path = implementation_->folder / "cells" / (unique_slug(name, decided_by) + ".json");
  if (const Json finished = read_finished(path, name, decided_by); !finished.is_null()) {
    require(finished.contains("result"), "{} has no \"result\"; delete it to have that work done again",
            path.string());
    // A cell that used another second data set than the one at hand is not this one.
    const bool same_other = !finished.contains("other_data") || !workspace.has_other() ||
                            finished["other_data"] == workspace.other().digest;
    if (same_other) {
      implementation_->remember(record_of(finished, path, true));
      return finished["result"];
    }
  }
  if (stop_requested()) throw Interrupted();
  implementation_->other_used = false;
  const double training_before = workspace.training_seconds();
  const auto started = std::chrono::steady_clock::now();
  const Json result = work();
  const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count() -
                         (workspace.training_seconds() - training_before);
  Json more = Json::object();
  if (implementation_->other_used) more["other_data"] = workspace.other().digest;
  more["result"] = result;
  write_finished(path, name, decided_by, more, seconds);
  const Json finished = read_finished(path, name, decided_by);
  implementation_->remember(record_of(finished, path, false));
  Progress(implementation_->experiment, 1, "cells")
      .message(fmt::format("{}  {}: {:.1f} s", implementation_->experiment, name, seconds));
  // What is read back later is what is returned now.
  return finished["result"];
}

Json ExperimentContext::attacked(const NetworkRequest& request, const std::string& attack, uint64_t seed) {
  std::string name = fmt::format("{} after {}", describe(request), attack.empty() ? "no attack" : attack);
  if (!attack.empty()) name += fmt::format(", attack seed {}", seed);
  return cell(name, [&]() -> Json {
    const TrainedFile file = network(request);
    AttackedModel victim{read_model(file.model), request.data == "other" ? &other() : &task()};
    const std::vector<std::unique_ptr<Attack>> attacks =
        attack.empty() ? std::vector<std::unique_ptr<Attack>>{} : parse_attacks(attack);
    AttackContext context;
    context.task = victim.task;
    if (attack.find("transfer") != std::string::npos) context.other = &other();
    context.device = device();
    context.seed = seed + 1000 * (this->seed() - 1);
    Progress bar(fmt::format("{} on {}", attack, describe(request)), 0, "steps");
    context.progress = [&](int64_t, int64_t) {
      if (stop_requested()) throw Interrupted();
      bar.advance();
    };
    const AttackedModel result = apply_attacks(attacks, victim, context);
    const Evaluation evaluation = evaluate_model(result.model, *result.task, device());
    Json json = {{"attack", attack}, {"accuracy", evaluation.accuracy}};
    if (request.scheme.empty()) return json;
    json.update(json_of(read_mark(result.model, file)));
    return json;
  });
}

}  // namespace dw
