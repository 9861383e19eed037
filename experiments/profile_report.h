// --profile: where the time of a step goes, beside what this machine can do, as tables and as JSON.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "experiments/profile_prediction.h"

namespace CLI {
class App;
}

namespace dw {

/// What the command line asks for.
struct ProfileOptions {
  bool wanted = false;
  std::vector<std::string> predict;  ///< "8", "h200": see profile_prediction.h
};

/// Adds --profile and --predict; `options` must outlive the parsing.
void add_profile_options(CLI::App& app, ProfileOptions& options);

/// UsageError: predictions without a profile, or of machines that nothing is known of.
void require_profile_options(const ProfileOptions& options);

/// A profile of this thread's steps of that name; null where none is wanted. Errors as above.
std::unique_ptr<Profile> start_profile(const ProfileOptions& options, const std::string& step);

struct ProfileReport {
  StepTimes step;
  MachineRates machine;
  bool on_gpu = false;
  std::vector<Prediction> predictions;
};

/// Ends the profile and measures the machine. Error where no step was recorded.
ProfileReport report_of(std::unique_ptr<Profile> profile, const ProfileOptions& options, Device device);

/// Tables by kernel and by problem with time, share of the step, rate and share of the machine's rate, and
/// where predictions for an H200 are wanted a problem's on it; what is outside of kernels; predictions.
std::string to_text(const ProfileReport& report);
nlohmann::ordered_json to_json(const ProfileReport& report);

}  // namespace dw
