// The main of every experiment: studies/NAME.cpp becomes the executable NAME with dashes (CMakeLists.txt).
#include "experiments/experiment.h"

int main(int argc, char** argv) {
  return dw::run_experiment_program(DEEPWATER_EXPERIMENT, argc, argv);
}
