// An experiment: a question about the mark, answered by cells of work that are computed once and kept.
//
// Files under the output folder (docs/experiments.md), shared by all experiments of a `reproduce`:
//   networks/SLUG/          trained networks with key and claim, each trained at most once whoever asks first
//   EXPERIMENT/cells/*.json finished cells: never computed again
//   EXPERIMENT/result.json, *.csv, report.html
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "experiments/plot.h"
#include "experiments/table.h"
#include "experiments/workflow.h"
#include "watermark/attack.h"
#include "watermark/scheme.h"

namespace dw {

using Json = nlohmann::ordered_json;

enum class Preset {
  smoke,  ///< seconds, procedural pictures: does it run
  quick,  ///< minutes on two cores, real pictures
  paper   ///< WRN-10-4, 200 epochs: for a GPU
};

/// "smoke", "quick", "paper"; UsageError for anything else.
Preset parse_preset(const std::string& name);

/// What a preset stands for. Everything here decides the cells' results.
struct PresetSettings {
  std::string name, description;
  std::string network;        ///< that stands in for WRN-10-4
  Recipe recipe;              ///< from scratch
  Recipe fine_tuning;         ///< of a finished network
  double strength = 10;       ///< z* from scratch
  LoadOptions data, other;    ///< how much of the pictures
  std::string default_data;   ///< empty: --data must say
  std::string default_other;  ///< empty: --other must say
};
const PresetSettings& settings_of(Preset preset);

/// Something the design sets as a goal; shown met or not met, never left out.
struct Goal {
  std::string statement;  ///< "bit error rate 0 after pruning 95 %"
  std::string measured;   ///< "0 of 256 in each of 3 seeds"
  bool met = false;
};

/// What an experiment shows.
struct Findings {
  struct Section {
    std::string title;
    std::string text;
    std::optional<Table> table = {};
    std::string svg = {};  ///< of plot(), or empty
    std::string caption = {};
  };
  std::vector<Section> sections;
  std::vector<Goal> goals;
};

/// How a network comes to be.
enum class Situation {
  scratch,      ///< trained on labels from random values
  fine_tune,    ///< `host` trained on, with the mark
  data_free,    ///< `host` marked without any picture
  distil,       ///< taught by `host` and the labels
  distil_soft,  ///< taught by `host` alone
};

/// A network as an experiment asks for it. Equal requests are one network.
struct NetworkRequest {
  std::string scheme = {};     ///< empty: unmarked
  SchemeOptions options = {};  ///< scheme "deepwater" from scratch without "strength": the preset's
  int bits = 256;
  uint64_t seed = 1;
  std::string network = {};  ///< empty: the preset's
  int64_t epochs = 0;        ///< 0: the preset's
  std::string data = {};     ///< "", the preset's main data set, or "other"
  Situation situation = Situation::scratch;
  std::vector<NetworkRequest> host = {};  ///< the one network that `situation` starts from, if any
};

/// One on disk, with its owner's key and claim (of a key without a mark for an unmarked one).
struct TrainedFile {
  std::filesystem::path model, key, claim;
  double accuracy = 0;  ///< on the test pictures, in [0, 1]
  double seconds = 0;   ///< of training
};

/// What a mark's reading says: bits wrong of all (erased ones included), those erased, and the p-value.
struct MarkReading {
  int bits = 0, errors = 0;
  int erased = 0;  ///< with nothing left to read, as a bit all of whose weights are zero
  double log2_p = 0;
};
/// {"bits", "errors", "erased", "log2_p"}, as cells keep it, and back.
Json json_of(const MarkReading& reading);
MarkReading reading_from(const Json& json);

/// Ctrl-C: everything finished is on disk, and the same command goes on from there.
class Interrupted : public std::runtime_error {
 public:
  Interrupted();
};

class Workspace;

/// A cell or a network as a report lists it.
struct WorkRecord {
  std::string name;
  std::filesystem::path file;
  double seconds = 0;
  std::string commit, date;
  bool recalled = false;  ///< from an earlier run
};

class ExperimentContext {
 public:
  struct Options {
    Preset preset = Preset::smoke;
    std::filesystem::path out;
    std::string data, other;  ///< empty: the preset's
    Device device;
    uint64_t seed = 1;
  };
  ExperimentContext(const std::string& experiment, const Options& options);
  /// One of several experiments that share data and networks.
  ExperimentContext(const std::string& experiment, std::shared_ptr<Workspace> workspace);
  ~ExperimentContext();

  Preset preset() const;
  const PresetSettings& settings() const;
  Device device() const;
  uint64_t seed() const;
  const std::filesystem::path& folder() const;  ///< of this experiment's own files
  /// `smoke`, `quick` or `paper`, by preset: the sizes of an experiment.
  template <typename T>
  T choose(T smoke, T quick, T paper) const {
    return preset() == Preset::smoke ? smoke : preset() == Preset::quick ? quick : paper;
  }

  /// The result of `work`, from disk where it was computed before. `name` says everything that decides it
  /// beyond the preset, the seed and the data (which are part of the key already; the other data set where
  /// `work` asks for it). The stored cell adds seconds (without those of training the networks it asks for),
  /// commit and date. Errors: those of `work`; a cell file that cannot be read, naming it. Cells do not nest.
  Json cell(const std::string& name, const std::function<Json()>& work);

  /// Trains it where that has not been done; a run that was cut goes on from its checkpoint.
  TrainedFile network(const NetworkRequest& request);
  /// The preset's main and other data, as a thief would have them. UsageError where --data or --other is
  /// needed.
  const Task& task();
  const Task& other();
  const Dataset& data();
  const Dataset& other_data();

  /// Applies `attack` to the network of `request` and reads its mark: {"attack", "accuracy", "bits",
  /// "errors", "erased", "log2_p"}. A cell. An empty `attack` reads the network as it is.
  Json attacked(const NetworkRequest& request, const std::string& attack, uint64_t seed = 1);

  /// What has been asked for so far, in order, each once.
  const std::vector<WorkRecord>& cells() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// A short name of a request for tables and cell names: "deepwater, 256 bits, seed 1".
std::string describe(const NetworkRequest& request);

/// The key of experiments, the same in every run: it protects nothing.
OwnerKey experiment_key(uint64_t seed, int bits);

/// Reads `model` with the mark, key and scheme of `owner`. Errors: an owner without a mark, layers that do
/// not fit.
MarkReading read_mark(const Model& model, const TrainedFile& owner);
MarkReading read_mark(const Model& model, const OwnerKey& key, const Mark& mark);

struct Experiment {
  std::string name;  ///< "robustness-pruning": also of its executable
  std::string title;
  std::string question;  ///< one or two sentences
  Findings (*run)(ExperimentContext& context);
};

/// In the order of the report. To add one: studies/NAME.cpp and its two lines in experiment_list.cpp.
const std::vector<Experiment>& experiments();

/// UsageError naming the experiments for any other name.
const Experiment& experiment_named(const std::string& name);

/// The main() of an experiment's executable: --preset, --out, --data, --other, and the common options.
int run_experiment_program(const std::string& name, int argc, const char* const* argv);

}  // namespace dw
