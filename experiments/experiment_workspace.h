// What the experiments of one output folder share: the data, the trained networks, the files of finished
// work.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "experiments/experiment.h"

namespace dw {

class Workspace {
 public:
  /// UsageError: no output folder, data the preset needs and was not given.
  explicit Workspace(const ExperimentContext::Options& options);
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  const ExperimentContext::Options& options() const { return options_; }
  const PresetSettings& settings() const { return settings_of(options_.preset); }

  const Dataset& data();
  const Dataset& other();
  /// Where another data set is configured.
  bool has_other() const { return !other_spec_.empty(); }
  const std::string& data_spec() const { return data_spec_; }
  const std::string& other_spec() const { return other_spec_; }
  const Task& task();
  const Task& other_task();

  /// Preset, seed and data: what decides every cell besides its name.
  const std::string& fingerprint();

  TrainedFile network(const NetworkRequest& request);
  /// Of every network asked for, in order.
  const std::vector<WorkRecord>& networks() const { return networks_; }
  /// Spent in network() by this process: no cell's time.
  double training_seconds() const { return training_seconds_; }

 private:
  TrainedFile train(const NetworkRequest& request, const std::filesystem::path& folder);
  Dataset load(const std::string& spec, const LoadOptions& limits) const;
  void remember(const WorkRecord& record);

  ExperimentContext::Options options_;
  std::string data_spec_, other_spec_;
  std::unique_ptr<Dataset> data_, other_;
  std::unique_ptr<Task> task_, other_task_;
  std::string fingerprint_;
  std::vector<WorkRecord> networks_;
  double training_seconds_ = 0;
};

/// Everything finished says who computed it: {"format", "name", "decided_by", ..., "seconds", "commit",
/// "date", "environment"}. `more` is what it holds besides.
void write_finished(const std::filesystem::path& path, const std::string& name, const std::string& decided_by,
                    const Json& more, double seconds);

/// The finished work in `path`; null where there is no such file. Errors naming the file: not JSON, or the
/// work of another name or other settings.
Json read_finished(const std::filesystem::path& path, const std::string& name, const std::string& decided_by);

WorkRecord record_of(const Json& finished, const std::filesystem::path& path, bool recalled);

/// "Pruning 90 %" → "pruning-90": lower-case letters, digits, dots and single dashes, at most 80.
std::string slug_of(const std::string& text);
/// The slug with a digest of `text` and `decided_by`: equal work has one name on disk, different work has
/// two.
std::string unique_slug(const std::string& text, const std::string& decided_by);

/// The machine, for result files.
Json environment_json();

}  // namespace dw
