#include "core/checkpoint.h"

#include <nlohmann/json.hpp>

namespace dw {

using Json = nlohmann::ordered_json;

namespace {

Json json_of(const EpochMetrics& metrics) {
  return {{"epoch", metrics.epoch},           {"learning_rate", metrics.learning_rate},
          {"train_loss", metrics.train_loss}, {"train_accuracy", metrics.train_accuracy},
          {"test_loss", metrics.test_loss},   {"test_accuracy", metrics.test_accuracy},
          {"mark_loss", metrics.mark_loss},   {"seconds", metrics.seconds}};
}

EpochMetrics metrics_of(const Json& json) {
  EpochMetrics metrics;
  metrics.epoch = json.at("epoch").get<int64_t>();
  metrics.learning_rate = json.at("learning_rate").get<double>();
  metrics.train_loss = json.at("train_loss").get<double>();
  metrics.train_accuracy = json.at("train_accuracy").get<double>();
  metrics.test_loss = json.at("test_loss").get<double>();
  metrics.test_accuracy = json.at("test_accuracy").get<double>();
  metrics.mark_loss = json.at("mark_loss").get<double>();
  metrics.seconds = json.at("seconds").get<double>();
  return metrics;
}

}  // namespace

std::string to_json(const EpochMetrics& metrics) {
  return json_of(metrics).dump();
}

void save_checkpoint(const std::filesystem::path& path, const Module& module, const Optimizer& optimizer,
                     const TrainingPosition& position, const std::string& fingerprint) {
  std::vector<NamedTensor> tensors;
  for (const NamedTensor& entry : module.state()) tensors.push_back({"model." + entry.name, entry.tensor});
  for (const NamedTensor& entry : optimizer.state())
    tensors.push_back({"optimizer." + entry.name, entry.tensor});
  Json json = {{"step", position.step},
               {"epoch_loss", position.epoch_loss},
               {"epoch_correct", position.epoch_correct},
               {"epoch_samples", position.epoch_samples},
               {"epoch_seconds", position.epoch_seconds},
               {"best_accuracy", position.best_accuracy},
               {"epochs", Json::array()}};
  for (const EpochMetrics& metrics : position.epochs) json["epochs"].push_back(json_of(metrics));
  save_tensors(path, {{"deepwater", "checkpoint"}, {"fingerprint", fingerprint}, {"position", json.dump()}},
               tensors);
}

TrainingPosition load_checkpoint(const std::filesystem::path& path, Module& module, Optimizer& optimizer,
                                 const std::string& fingerprint) {
  const SafetensorsFile file = SafetensorsFile::open(path);
  const auto& metadata = file.metadata();
  require(metadata.contains("position") && metadata.contains("fingerprint"),
          "{} is not a training checkpoint", path.string());
  require(
      metadata.at("fingerprint") == fingerprint,
      "{} is a checkpoint of another run: expected \"{}\", found \"{}\"; use another --out or drop --resume",
      path.string(), fingerprint, metadata.at("fingerprint"));
  TrainingPosition position;
  try {
    const Json json = Json::parse(metadata.at("position"));
    position.step = json.at("step").get<int64_t>();
    position.epoch_loss = json.at("epoch_loss").get<double>();
    position.epoch_correct = json.at("epoch_correct").get<double>();
    position.epoch_samples = json.at("epoch_samples").get<double>();
    position.epoch_seconds = json.at("epoch_seconds").get<double>();
    position.best_accuracy = json.at("best_accuracy").get<double>();
    for (const Json& metrics : json.at("epochs")) position.epochs.push_back(metrics_of(metrics));
  } catch (const Json::exception& error) {
    fail("{}: the position of the checkpoint cannot be read: {}", path.string(), error.what());
  }
  require(position.step >= 0, "{}: the checkpoint is at step {}, expected 0 or more", path.string(),
          position.step);
  std::vector<NamedTensor> tensors;
  for (const NamedTensor& entry : module.state()) tensors.push_back({"model." + entry.name, entry.tensor});
  for (const NamedTensor& entry : optimizer.state())
    tensors.push_back({"optimizer." + entry.name, entry.tensor});
  load_tensors(file, "", tensors);
  return position;
}

}  // namespace dw
