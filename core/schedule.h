// Learning-rate schedules: the factor on the base rate as a function of how far training has come.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

namespace dw {

/// `progress` in [0, 1): steps done over steps in all. Returns the factor on the base learning rate.
using Schedule = std::function<double(double progress)>;

/// Always 1.
Schedule constant_schedule();
/// Half a cosine from 1 to 0 (Loshchilov & Hutter 2017).
Schedule cosine_schedule();
/// Linear from `start` up to 1 over the first `warm_up` of training, then linear down to `end` (Smith 2018).
Schedule one_cycle_schedule(double warm_up = 0.3, double start = 0.1, double end = 0.004);
/// Multiplied by `factor` at each of `milestones`, in fractions of training.
Schedule step_schedule(std::vector<double> milestones, double factor);

/// The schedules by name: "constant", "cosine", "one-cycle", "steps" (×0.2 at 30, 60 and 80 %, the paper's
/// epochs 60, 120 and 160 of 200). UsageError naming them for any other.
Schedule schedule_named(std::string_view name);
std::vector<std::string> schedule_names();

}  // namespace dw
