// Every experiment, in the order of the report. Each is a function of its file in studies/.
#include "experiments/experiment.h"

namespace dw {

Experiment from_scratch_experiment();

const std::vector<Experiment>& experiments() {
  static const std::vector<Experiment> list{
      from_scratch_experiment(),
  };
  return list;
}

}  // namespace dw
