// Every experiment, in the order of the report. Each is a function of its file in studies/.
#include "experiments/experiment.h"

namespace dw {

Experiment from_scratch_experiment();
Experiment fine_tune_to_embed_experiment();
Experiment distil_to_embed_experiment();
Experiment capacity_experiment();
Experiment robustness_finetune_experiment();
Experiment robustness_transfer_experiment();
Experiment robustness_pruning_experiment();
Experiment robustness_overwriting_experiment();
Experiment robustness_transforms_experiment();
Experiment detectability_experiment();
Experiment forging_experiment();
Experiment parameter_statistics_experiment();
Experiment schemes_compared_experiment();
Experiment ablation_experiment();
Experiment published_figures_experiment();

const std::vector<Experiment>& experiments() {
  static const std::vector<Experiment> list{
      from_scratch_experiment(),
      fine_tune_to_embed_experiment(),
      distil_to_embed_experiment(),
      capacity_experiment(),
      robustness_finetune_experiment(),
      robustness_transfer_experiment(),
      robustness_pruning_experiment(),
      robustness_overwriting_experiment(),
      robustness_transforms_experiment(),
      detectability_experiment(),
      forging_experiment(),
      parameter_statistics_experiment(),
      schemes_compared_experiment(),
      ablation_experiment(),
      published_figures_experiment(),
  };
  return list;
}

}  // namespace dw
