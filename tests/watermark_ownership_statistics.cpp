// p-values against exact rational arithmetic, the null's fit, and the target density's integrals.
#include <doctest/doctest.h>

#include <cmath>
#include <numbers>
#include <random>

#include "kernels/error.h"
#include "tests/watermark_ownership_support.h"
#include "watermark/statistics.h"
#include "watermark/target.h"

using namespace dw;
using test::contains;
using test::error_of;

TEST_CASE("ownership: two-sided binomial p-values, exact to 1e-10 in the logarithm") {
  // From exact integers.
  const struct {
    int64_t matches, trials;
    double log2_p;
  } cases[] = {{167, 256, -19.615911142979489435},
               {176, 256, -28.981276289951830939},
               {199, 256, -62.746786665272083722},
               {200, 256, -64.570353550760385058},
               {227, 256, -127.98507721766999870},
               {129, 256, -0.0737259031747450564},
               {256, 256, -255},
               {40, 64, -4.0603084745354965352},
               {16385, 32767, -0.0127743150392296820},
               {16600, 32767, -5.8777037190616958964},
               {20000, 32767, -1166.5777992655764990},
               {32767, 32767, -32766}};
  for (const auto& [matches, trials, log2_p] : cases) {
    CHECK(std::fabs(log2_p_value(matches, trials) - log2_p) <= 1e-10 * std::fabs(log2_p));
    CHECK(log2_p_value(trials - matches, trials) == log2_p_value(matches, trials));
  }
  CHECK(log2_p_value(128, 256) == 0);
  CHECK(log2_p_value(0, 0) == 0);
  CHECK(log2_p_value(200, 256, 1024) == doctest::Approx(-54.570353550760385));
  CHECK(log2_p_value(140, 256, 1e9) == 0);
  CHECK(contains(error_of([] { log2_p_value(5, 4); }), "5 matches of 4"));
  CHECK(contains(error_of([] { log2_p_value(1, 4, 0.5); }), "0.5 alternatives"));
}

TEST_CASE("ownership: the fit to the binomial accepts binomial draws and rejects others") {
  std::mt19937_64 generator(1);
  int rejected = 0;
  for (int round = 0; round < 400; ++round) {
    std::vector<BinomialDraw> draws;
    for (int i = 0; i < 200; ++i) {
      const int64_t trials = 200 + i % 3;
      draws.push_back({std::binomial_distribution<int64_t>(trials, 0.5)(generator), trials});
    }
    rejected += binomial_fit_p_value(draws, 5) < 0.1;
  }
  CHECK(rejected > 18);  // 40 expected, deviation 6
  CHECK(rejected < 65);

  std::vector<BinomialDraw> shifted;
  std::vector<BinomialDraw> wide;
  for (int i = 0; i < 1000; ++i) {
    shifted.push_back({std::binomial_distribution<int64_t>(256, 0.53)(generator), 256});
    wide.push_back({128 + (i % 2 == 0 ? 30 : -30), 256});
  }
  CHECK(binomial_fit_p_value(shifted, 0) < 1e-10);
  CHECK(binomial_fit_p_value(wide, 0) < 1e-10);
  CHECK(std::isnan(binomial_fit_p_value({}, 0)));
}

TEST_CASE("ownership: moments") {
  const Moments moments = moments_of(std::vector<double>{1, 2, 3, 6});
  CHECK(moments.mean == 3);
  CHECK(moments.deviation == doctest::Approx(std::sqrt(14.0 / 3)));
  CHECK(moments_of({}).mean == 0);
}

TEST_CASE("ownership: integrals of the target agree with draws and with limits known in closed form") {
  const Density normal = Density::gaussian();
  // tau -> 0: tanh is a sign; E|x| = sqrt(2 / pi), P(|x| > t) = erfc(t / sqrt 2).
  CHECK(normal.mean_shift(1e-6) == doctest::Approx(std::sqrt(2 / std::numbers::pi)).epsilon(1e-9));
  CHECK(normal.tail_tilt(1, 1e-6) == doctest::Approx(std::erfc(1 / std::numbers::sqrt2)).epsilon(1e-9));
  // tau -> infinity: tanh is linear; E x^2 = 1.
  CHECK(normal.mean_shift(1e5) == doctest::Approx(1e-5).epsilon(1e-8));
  CHECK(normal.tail_tilt(13, 0.7) == 0);

  std::mt19937 generator(2);
  std::normal_distribution<float> draw;
  std::vector<float> values(200'000);
  for (float& value : values) value = draw(generator);
  const Density host = Density::host(values);
  CHECK(host.mean_shift(0.7) == doctest::Approx(normal.mean_shift(0.7)).epsilon(0.01));
  for (const double t : {0.0, 0.5, 1.0, 2.0})
    CHECK(host.tail_tilt(t, 0.7) == doctest::Approx(normal.tail_tilt(t, 0.7)).epsilon(0.02));
  CHECK(contains(error_of([] { Density::host({}); }), "no weights"));

  const auto table = target_skew_table(normal, 0.5);
  CHECK(table[0] == doctest::Approx(0.5 * normal.tail_tilt(0, 0.7)));
  CHECK(table[8] == doctest::Approx(target_skew(1.0, normal, 0.5)));
  for (size_t i = 1; i < table.size(); ++i) CHECK(table[i] < table[i - 1]);
  // The log-likelihood ratio itself.
  CHECK(evidence(0.9, 0.5, 0.7) ==
        doctest::Approx(std::log((1 + 0.5 * std::tanh(0.9 / 0.7)) / (1 - 0.5 * std::tanh(0.9 / 0.7)))));
  CHECK(evidence(-0.9, 0.5, 0.7) == -evidence(0.9, 0.5, 0.7));
}

TEST_CASE("ownership: the amplitude rule, and payloads that are too large") {
  const Density normal = Density::gaussian();
  const double a = amplitude_for(10, 76'960, 256, normal);
  CHECK(a == doctest::Approx(10 / (std::sqrt(76'960.0 / 256) * normal.mean_shift(0.7))));
  CHECK(a > 0.8);
  CHECK(a < 0.9);
  const std::string error = error_of([&] { amplitude_for(10, 76'960, 1024, normal); });
  CHECK(contains(error, "m = 75"));
  CHECK(contains(error, "T = 1024"));
  CHECK(contains(error, "z* = 10"));
  const size_t found = error.find("that fits is ");
  REQUIRE(found != std::string::npos);
  const int largest = std::stoi(error.substr(found + 13));
  CHECK_NOTHROW(amplitude_for(10, 76'960, largest, normal));
  CHECK_THROWS_AS(amplitude_for(10, 76'960, largest + 1, normal), UsageError);
  CHECK(contains(error_of([&] { amplitude_for(10, 1000, 64, normal); }), "not even 64 bits fit"));
  CHECK_THROWS_AS(amplitude_for(0, 1000, 64, normal), UsageError);
  CHECK_THROWS_AS(amplitude_for(10, 0, 64, normal), UsageError);
}
