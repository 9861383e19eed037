#include "core/schedule.h"

#include <array>
#include <cmath>
#include <numbers>
#include <utility>

#include "kernels/error.h"

namespace dw {
namespace {

struct Entry {
  std::string_view name;
  Schedule (*make)();
};

constexpr std::array<Entry, 4> schedules{{
    {"one-cycle", [] { return one_cycle_schedule(); }},
    {"steps",
     [] {
       return step_schedule({0.3, 0.6, 0.8}, 0.2);
     }},
    {"cosine", [] { return cosine_schedule(); }},
    {"constant", [] { return constant_schedule(); }},
}};

}  // namespace

Schedule constant_schedule() {
  return [](double) { return 1.0; };
}

Schedule cosine_schedule() {
  return [](double progress) { return 0.5 * (1 + std::cos(std::numbers::pi * progress)); };
}

Schedule one_cycle_schedule(double warm_up, double start, double end) {
  require(warm_up > 0 && warm_up < 1, "a one-cycle schedule warms up over a fraction in (0, 1), found {}",
          warm_up);
  return [=](double progress) {
    return progress < warm_up ? start + (1 - start) * progress / warm_up
                              : 1 + (end - 1) * (progress - warm_up) / (1 - warm_up);
  };
}

Schedule step_schedule(std::vector<double> milestones, double factor) {
  return [milestones = std::move(milestones), factor](double progress) {
    double rate = 1;
    for (const double milestone : milestones) {
      // A milestone falls on a whole step; progress is that step over the total, rounded.
      if (progress >= milestone - 1e-9) rate *= factor;
    }
    return rate;
  };
}

Schedule schedule_named(std::string_view name) {
  for (const Entry& entry : schedules) {
    if (entry.name == name) return entry.make();
  }
  throw UsageError(
      fmt::format("schedule \"{}\" is not known; there are {}", name, fmt::join(schedule_names(), ", ")));
}

std::vector<std::string> schedule_names() {
  std::vector<std::string> names;
  for (const Entry& entry : schedules) names.emplace_back(entry.name);
  return names;
}

}  // namespace dw
