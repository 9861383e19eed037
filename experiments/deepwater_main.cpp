// The deepwater program.
#include "experiments/commands/command.h"

int main(int argc, char** argv) {
  return dw::run_deepwater(argc, argv);
}
