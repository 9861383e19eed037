// --profile's tables, JSON and predictions from a profile with known numbers, and the option itself.
#include "experiments/profile_report.h"

#include <doctest/doctest.h>

#include <nlohmann/json.hpp>

using namespace dw;

namespace {

// Two steps of 10 ms: 4 ms in a convolution at half the machine's arithmetic, 2 ms in a copy at its memory
// rate, 1 ms waiting, 3 ms outside.
ProfileReport example() {
  ProfileReport report;
  report.machine = {.flops = 100e9, .bytes = 10e9, .fork_seconds = 0};
  report.step = {2,
                 20e-3,
                 {{"conv_forward", "64×16×32×32 → 16, 3×3", 4, 8e-3, 0.4e9, 1e6},
                  {"copy", "1000", 2, 4e-3, 1e3, 40e6},
                  {"next_batch", "waiting", 2, 2e-3}}};
  return report;
}

}  // namespace

TEST_CASE("profile report: JSON is per step, with floors") {
  const nlohmann::ordered_json json = to_json(example());
  CHECK(json.at("steps") == 2);
  CHECK(json.at("milliseconds").get<double>() == doctest::Approx(10));
  CHECK(json.at("outside_milliseconds").get<double>() == doctest::Approx(3));
  const auto& conv = json.at("kernels").at(0);
  CHECK(conv.at("kernel") == "conv_forward");
  CHECK(conv.at("calls").get<double>() == 2);
  CHECK(conv.at("milliseconds").get<double>() == doctest::Approx(4));
  CHECK(conv.at("floor_milliseconds").get<double>() == doctest::Approx(2));
  CHECK(conv.at("flops").get<double>() == doctest::Approx(0.2e9));
  CHECK(json.at("kernels").at(1).at("floor_milliseconds").get<double>() == doctest::Approx(2));
  CHECK(json.at("kernels").at(2).at("floor_milliseconds").get<double>() == 0);
}

TEST_CASE("profile report: the tables name the binding rate, the rest and what is outside") {
  const std::string text = to_text(example());
  for (const char* expected : {"a step: 10.00 ms, mean of 2", "matrix product 100.0 GFLOP/s",
                               "triad 10.0 GB/s", "50.0 GFLOP/s", "10.0 GB/s", "(outside kernels)"})
    CHECK_MESSAGE(text.find(expected) != std::string::npos, text);
  ProfileReport many = example();
  for (int i = 0; i < 3; ++i) many.step.records.push_back({"fill", std::to_string(i), 2, 1e-6, 1, 1});
  CHECK(to_text(many).find("3 problems below 0.1 %") != std::string::npos);
}

TEST_CASE("profile report: more cores speed up arithmetic and memory, not the rest") {
  const ProfileReport report = example();
  const Prediction same = predict_cores(report.step, report.machine, 2, 2);
  CHECK(same.seconds() == doctest::Approx(10e-3));
  const Prediction more = predict_cores(report.step, report.machine, 2, 8);
  CHECK(more.machine == "8 cores");
  CHECK(more.arithmetic == doctest::Approx(4e-3 / 4));
  CHECK(more.memory == doctest::Approx(2e-3 / 4));
  CHECK(more.serial == doctest::Approx(3e-3 + 1e-3));
  CHECK(more.bound() == "serial work");
  // A socket has 400 GB/s: 40 times this machine's, from 80 cores on.
  CHECK(predict_cores(report.step, report.machine, 2, 1000).memory == doctest::Approx(2e-3 / 40));
  MachineRates slow_start = report.machine;
  slow_start.fork_seconds = 100e-6;
  const Prediction forked = predict_cores(report.step, slow_start, 2, 8);
  CHECK(forked.overhead == doctest::Approx(3 * 3 * 100e-6));
  CHECK(forked.arithmetic == doctest::Approx((4e-3 - 2 * 100e-6) / 4));
}

TEST_CASE("profile report: an H200 by its data sheet") {
  const std::vector<Prediction> found = predict_h200(example().step);
  REQUIRE(found.size() == 3);
  CHECK(found[0].machine == "H200 fp32");
  CHECK(found[0].arithmetic == doctest::Approx(0.2e9 / 67e12));
  CHECK(found[0].memory == doctest::Approx(20e6 / 4.8e12));
  CHECK(found[2].memory == doctest::Approx((20e6 + 0.5e6) / 2 / 4.8e12));
  CHECK(found[0].overhead == doctest::Approx(3 * 2e-6));
  CHECK(found[0].serial == 0);
}

TEST_CASE("profile report: wrong machines are refused by name") {
  CHECK_THROWS_WITH_AS(require_predictable({"8", "many"}), doctest::Contains("\"many\""), UsageError);
  CHECK_THROWS_AS(require_predictable({"0"}), UsageError);
  CHECK_THROWS_AS(static_cast<void>(start_profile({.predict = {"8"}}, "training")), UsageError);
  CHECK(start_profile({}, "training") == nullptr);
}
