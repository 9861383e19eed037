// Fits against published software's maximum-likelihood values on the same numbers, and against the parameters
// the numbers were drawn with; Kolmogorov-Smirnov distances against their definition.
#include "watermark/distributions.h"

#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "kernels/error.h"
#include "watermark/samples.h"
#include "watermark/special_functions.h"

using namespace dw;

namespace {

// quantile((i + ½) / count), i = 0 .. count - 1.
template <typename Quantile>
std::vector<double> quantile_grid(Quantile quantile_function, int count = 2001) {
  std::vector<double> grid;
  for (int i = 0; i < count; ++i) grid.push_back(quantile_function((i + 0.5) / count));
  return grid;
}

std::vector<double> draws(const Distribution& distribution, size_t count, uint32_t seed) {
  std::mt19937 generator(seed);
  std::uniform_real_distribution<double> uniform(1e-12, 1 - 1e-12);
  std::vector<double> sample(count);
  for (double& x : sample) x = quantile(distribution, uniform(generator));
  std::sort(sample.begin(), sample.end());
  return sample;
}

Family winner(std::span<const double> sorted) {
  const std::vector<Fit> fits = fit_all(sorted);
  const std::vector<int> ranks = ranks_of(fits);
  return fits[static_cast<size_t>(std::find(ranks.begin(), ranks.end(), 1) - ranks.begin())]
      .distribution.family;
}

struct Reference {
  Family family;
  double location, scale, shape, log_likelihood, ks_distance;
};

void check_against(const std::vector<double>& sample, const std::vector<Reference>& references) {
  for (const Reference& expected : references) {
    CAPTURE(name_of(expected.family));
    const Fit found = fit(expected.family, sample);
    CHECK(std::fabs(found.distribution.location - expected.location) < 1e-3);
    CHECK(found.distribution.scale == doctest::Approx(expected.scale).epsilon(1e-3));
    CHECK(found.distribution.shape == doctest::Approx(expected.shape).epsilon(1e-3));
    CHECK(found.log_likelihood == doctest::Approx(expected.log_likelihood).epsilon(1e-6));
    CHECK(std::fabs(found.ks_distance - expected.ks_distance) < 1e-4);
    const int parameters = expected.shape > 0 ? 3 : 2;
    CHECK(found.aic == doctest::Approx(2 * parameters - 2 * found.log_likelihood));
  }
}

}  // namespace

TEST_CASE("distributions: fits equal the maximum likelihood found by SciPy 1 on the same numbers") {
  // SciPy: scipy.stats log-densities maximised by Nelder and Mead's method to 1e-9.
  SUBCASE("logistic numbers") {
    check_against(quantile_grid([](double u) { return 0.3 + 0.7 * std::log(u / (1 - u)); }),
                  {{Family::normal, 0.3, 1.268351, 0, -3314.968, 0.02269025},
                   {Family::laplace, 0.3, 0.9701634, 0, -3327.376, 0.03042417},
                   {Family::logistic, 0.3, 0.6998302, 0, -3287.6, 0.0003041745},
                   {Family::student_t, 0.3, 1.097561, 7.839957, -3288.203, 0.002227725},
                   {Family::generalised_normal, 0.3, 1.448306, 1.470127, -3289.598, 0.004867066}});
  }
  SUBCASE("heavy tails") {
    check_against(quantile_grid([](double u) { return (2 * u - 1) / std::sqrt(2 * u * (1 - u)); }),
                  {{Family::normal, 0, 2.750439, 0, -4863.829, 0.157387},
                   {Family::laplace, 0, 1.395088, 0, -4054.236, 0.03554044},
                   {Family::logistic, 0, 1.02881, 0, -4203.365, 0.06341345},
                   {Family::student_t, 0, 1.000749, 2.004498, -3921.478, 0.0003187676},
                   {Family::generalised_normal, 0, 0.6853874, 0.696939, -3982.276, 0.02153422}});
  }
  SUBCASE("skewed numbers, which no family fits") {
    check_against(quantile_grid([](double u) { return -std::log1p(-u); }),
                  {{Family::normal, 0.9998268, 0.9984771, 0, -2836.246, 0.1583889},
                   {Family::laplace, 0.6931472, 0.6929739, 0, -2654.095, 0.1839601},
                   {Family::logistic, 0.8465907, 0.501017, 0, -2675.412, 0.155875},
                   {Family::student_t, 0.719441, 0.5888776, 2.609624, -2600.173, 0.160378}});
  }
}

TEST_CASE("distributions: fits recover what was drawn, and the right family ranks first") {
  const std::vector<Distribution> truths{{Family::normal, 0.02, 0.05, 0},
                                         {Family::laplace, -1, 3, 0},
                                         {Family::logistic, 0, 1e-4, 0},
                                         {Family::student_t, 0.5, 0.1, 4},
                                         {Family::generalised_normal, 0, 1e6, 4}};
  for (const Distribution& truth : truths) {
    CAPTURE(name_of(truth.family));
    const std::vector<double> sample = draws(truth, 40000, 7);
    const Distribution found = fit(truth.family, sample).distribution;
    CHECK(std::fabs(found.location - truth.location) < 0.03 * truth.scale);
    CHECK(found.scale == doctest::Approx(truth.scale).epsilon(0.03));
    CHECK(found.shape == doctest::Approx(truth.shape).epsilon(0.08));
    CHECK(fit(truth.family, sample).ks_distance < 1.6 / std::sqrt(40000.0));
    CHECK(winner(sample) == truth.family);
  }
}

TEST_CASE("distributions: a fit moves and grows with its sample") {
  std::vector<double> sample = draws({Family::student_t, 0, 1, 5}, 3000, 3);
  for (const Family family : families) {
    CAPTURE(name_of(family));
    std::vector<double> moved(sample.size());
    std::transform(sample.begin(), sample.end(), moved.begin(), [](double x) { return 3e-30 * (x + 2); });
    const Fit a = fit(family, sample), b = fit(family, moved);
    CHECK(b.distribution.location / 3e-30 - 2 == doctest::Approx(a.distribution.location).epsilon(1e-5));
    CHECK(b.distribution.scale / 3e-30 == doctest::Approx(a.distribution.scale).epsilon(1e-5));
    CHECK(b.distribution.shape == doctest::Approx(a.distribution.shape).epsilon(1e-5));
    CHECK(b.log_likelihood - a.log_likelihood == doctest::Approx(-3000 * std::log(3e-30)).epsilon(1e-6));
  }
}

TEST_CASE("distributions: samples at the edge give finite fits or none") {
  const float infinity = std::numeric_limits<float>::infinity();
  CHECK(fit_all(std::vector<double>(100, 1.5)).empty());
  CHECK(fit_all(std::vector<double>{1, 2, 3}).empty());
  CHECK_THROWS_AS(fit(Family::normal, std::vector<double>(5, 2.0)), Error);
  CHECK(sample_of(std::vector<float>{0, infinity, std::nanf(""), -1, 0, -infinity}) ==
        std::vector<double>{-1});
  // A network of 2-bit weights, one of a single outlier, one of extreme magnitudes.
  std::vector<std::vector<float>> hostile(3);
  for (int i = 0; i < 400; ++i) {
    hostile[0].push_back(static_cast<float>(i % 4 - 1));
    hostile[1].push_back(i == 7 ? 1e30F : 1e-30F);
    hostile[2].push_back(i % 2 == 0 ? 3e38F : -1e-44F * static_cast<float>(i));
  }
  for (const std::vector<float>& weights : hostile) {
    for (const Fit& found : fit_all(sample_of(weights))) {
      CAPTURE(name_of(found.distribution.family));
      CHECK(std::isfinite(found.aic));
      CHECK(found.distribution.scale > 0);
      CHECK(found.ks_distance >= 0);
      CHECK(found.ks_distance <= 1);
    }
  }
}

TEST_CASE("distributions: cumulative, density and quantile belong together") {
  for (const Distribution& d : {Distribution{Family::normal, 1, 2, 0},
                                {Family::laplace, -1, 0.5, 0},
                                {Family::logistic, 0, 3, 0},
                                {Family::student_t, 2, 1, 1},
                                {Family::student_t, 0, 2, 300},
                                {Family::generalised_normal, 0, 1, 0.4},
                                {Family::generalised_normal, 1, 2, 8}}) {
    CAPTURE(name_of(d.family));
    CAPTURE(d.shape);
    for (const double p : {1e-9, 0.001, 0.2, 0.4999, 0.5, 0.7, 0.9999}) {
      const double x = quantile(d, p);
      CHECK(cumulative(d, x) == doctest::Approx(p).epsilon(1e-7));
      const double step = 1e-5 * d.scale;
      if (std::fabs(x - d.location) > 0.01 * d.scale && p > 1e-3)
        CHECK((cumulative(d, x + step) - cumulative(d, x - step)) / (2 * step) ==
              doctest::Approx(std::exp(log_density(d, x))).epsilon(1e-4));
    }
  }
  CHECK(quantile({Family::student_t, 0, 1, 1}, 0.75) == doctest::Approx(1));
  CHECK(quantile({Family::normal, 0, 1, 0}, 0.975) == doctest::Approx(1.959963984540054));
  CHECK(regularised_gamma(0.5, 2) == doctest::Approx(std::erf(std::sqrt(2.0))).epsilon(1e-13));
  CHECK(regularised_gamma(3, 20) == doctest::Approx(1 - 221 * std::exp(-20.0)).epsilon(1e-13));
  CHECK(regularised_beta(0.3, 2, 3) == doctest::Approx(0.3483).epsilon(1e-12));
}

TEST_CASE("samples: the Kolmogorov-Smirnov distance is the largest over all points") {
  std::mt19937 generator(5);
  std::normal_distribution<double> normal;
  for (const size_t count : {1U, 2U, 3U, 17U, 1000U}) {
    std::vector<double> sample(count);
    for (double& x : sample) x = std::round(normal(generator) * 8) / 8;
    std::sort(sample.begin(), sample.end());
    for (const double shift : {0.0, 0.4, -3.0}) {
      const auto function = [&](double x) { return 0.5 * std::erfc(-(x - shift) / std::sqrt(2.0)); };
      double expected = 0;
      for (size_t i = 0; i < count; ++i)
        expected = std::max({expected, static_cast<double>(i + 1) / count - function(sample[i]),
                             function(sample[i]) - static_cast<double>(i) / count});
      CHECK(ks_distance(sample, function) == doctest::Approx(expected).epsilon(1e-12));
    }
  }
}

TEST_CASE("samples: two samples are compared as defined, and p-values are uniform under the null") {
  std::mt19937 generator(6);
  std::normal_distribution<double> normal;
  const auto sample = [&](size_t count, double scale) {
    std::vector<double> values(count);
    for (double& x : values) x = scale * normal(generator);
    std::sort(values.begin(), values.end());
    return values;
  };
  std::vector<double> p_values;
  for (int i = 0; i < 400; ++i) {
    const std::vector<double> a = sample(150, 1), b = sample(90, 1);
    const TwoSampleTest test = compare_samples(a, b);
    p_values.push_back(test.p_value);
    if (i > 3) continue;
    double expected = 0;
    for (const double x : a) {
      const auto below = [&](const std::vector<double>& of) {
        return static_cast<double>(std::count_if(of.begin(), of.end(), [&](double y) { return y <= x; })) /
               static_cast<double>(of.size());
      };
      expected = std::max(expected, std::fabs(below(a) - below(b)));
    }
    // The largest distance may also lie at a point of b; at points of a it is at most one step less.
    CHECK(test.distance >= doctest::Approx(expected));
    CHECK(test.distance <= expected + 1.0 / 90);
  }
  std::sort(p_values.begin(), p_values.end());
  CHECK(ks_distance(p_values, [](double p) { return p; }) < 1.63 / std::sqrt(400.0));
  CHECK(compare_samples(sample(2000, 1), sample(2000, 1.2)).p_value < 1e-3);
  CHECK_THROWS_AS(compare_samples(p_values, {}), Error);
}

TEST_CASE("samples: moments are over finite values, and large layers are thinned the same way every time") {
  const Description facts =
      describe(std::vector<float>{1, 2, 3, 6, 0, std::nanf(""), std::numeric_limits<float>::infinity()});
  CHECK(facts.count == 7);
  CHECK(facts.not_finite == 2);
  CHECK(facts.zeros == 1);
  CHECK(facts.mean == doctest::Approx(2.4));
  CHECK(facts.deviation == doctest::Approx(std::sqrt(4.24)));
  CHECK(facts.skewness == doctest::Approx(6.048 / std::pow(4.24, 1.5)));
  CHECK(facts.kurtosis == doctest::Approx(41.0272 / (4.24 * 4.24)));
  CHECK(facts.scale == doctest::Approx(std::sqrt(50.0 / 4)));
  CHECK(describe({}).kurtosis == 0);

  std::vector<float> ramp;
  for (int i = 1; i <= 100000; ++i) ramp.push_back(static_cast<float>(i));
  const std::vector<double> thinned = sample_of(ramp, 1000);
  CHECK(thinned.size() == 1000);
  CHECK(thinned == sample_of(ramp, 1000));
  for (size_t i = 0; i < thinned.size(); ++i) CHECK(std::floor((thinned[i] - 1) / 100) == doctest::Approx(i));
}
