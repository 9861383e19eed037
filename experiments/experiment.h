// An experiment: a question about the mark, answered by cells of work that are computed once and kept.
//
// Files under the output folder (shared by all experiments of a `reproduce`):
//   networks/SLUG/          trained networks with key and claim, each trained at most once whoever asks first
//   EXPERIMENT/cells/*.json finished cells: never computed again
//   EXPERIMENT/result.json, *.csv
#pragma once

#include <filesystem>
#include <functional>
#include <map>
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
    std::optional<Table> table;
    std::string svg;  ///< of plot(), or empty
    std::string caption;
  };
  std::vector<Section> sections;
  std::vector<Goal> goals;
};

/// A network as an experiment asks for it. Equal requests are one network.
struct NetworkRequest {
  std::string scheme;  ///< empty: unmarked
  SchemeOptions options;
  int bits = 256;
  uint64_t seed = 1;
  std::string network;  ///< empty: the preset's
  int64_t epochs = 0;   ///< 0: the preset's
  std::string data;     ///< "", the preset's main data set, or "other"
};

/// One on disk, with its owner's key and claim (of a key without a mark for an unmarked one).
struct TrainedFile {
  std::filesystem::path model, key, claim;
  double accuracy = 0;  ///< on the test pictures, in [0, 1]
  double seconds = 0;   ///< of training
};

/// What a mark's reading says: bits wrong of all, and the p-value.
struct MarkReading {
  int bits = 0, errors = 0;
  double log2_p = 0;
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
  ~ExperimentContext();

  Preset preset() const;
  Device device() const;
  const std::filesystem::path& folder() const;  ///< of this experiment's own files
  /// `smoke`, `quick` or `paper`, by preset: the sizes of an experiment.
  template <typename T>
  T choose(T smoke, T quick, T paper) const {
    return preset() == Preset::smoke ? smoke : preset() == Preset::quick ? quick : paper;
  }

  /// The result of `work`, from disk where it was computed before. `name` says everything that decides it. The
  /// stored cell adds seconds, commit and date.
  Json cell(const std::string& name, const std::function<Json()>& work);

  TrainedFile network(const NetworkRequest& request);
  /// The preset's main and other data, as a thief would have them.
  const Task& task();
  const Task& other();
  const Dataset& data();

  /// Applies `attack` to the network of `request` and reads its mark: {"accuracy", "errors", "bits", "log2_p",
  /// "attack"}. A cell.
  Json attacked(const NetworkRequest& request, const std::string& attack, uint64_t seed = 1);

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

/// Reads `model` with the mark, key and scheme of `owner`.
MarkReading read_mark(const Model& model, const TrainedFile& owner);

struct Experiment {
  std::string name;  ///< "robustness-pruning": also of its executable
  std::string title;
  std::string question;  ///< one or two sentences
  Findings (*run)(ExperimentContext& context);
};

/// In the order of the report. To add one: its file, its line in experiment_list.cpp, its three-line main.
const std::vector<Experiment>& experiments();

/// The main() of an experiment's executable: --preset, --out, --data, --other, and the common options.
int run_experiment_program(const std::string& name, int argc, const char* const* argv);

}  // namespace dw
