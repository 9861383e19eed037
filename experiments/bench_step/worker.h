// One side of the benchmark as a process of its own, so that its start, its first step and its peak memory
// are its alone. Ours is this program with --worker; PyTorch's is pytorch_side.py. Both read one JSON object
// a line and answer each with one:
//
//   {"do": "prepare", "network": "wrn-10-4", "channels": 3, "height": 32, "width": 32, "batch": 64,
//    "training": true, "variant": "fp32", "precision": "fp32", "data": false}
//       once, first; makes the network and runs one step
//       → {"first_seconds": of that step, compilation included, "versions": "..."}
//   {"do": "run", "data": true, "steps": 5}                 with loading and augmentation, or one fixed batch
//       → {"milliseconds": a step, "peak_megabytes": of this process; on CUDA device memory reserved}
//
// Ours adds "mark_milliseconds" in the variant "marked", and answers {"do": "matmul", "dtype": "f32"} with
// {"operations_per_second": ...}. A request that fails is answered with {"error": "..."}.
#pragma once

#include "experiments/bench_step/plan.h"
#include "experiments/profile_report.h"

namespace dw {

/// Answers requests on standard input until it ends.
int run_bench_step_worker(Device device);

/// Where the time of a step goes: with data, and when training with the mark, `steps` times.
ProfileReport profile_step(const StepProblem& problem, int steps, const ProfileOptions& options,
                           Device device);

}  // namespace dw
