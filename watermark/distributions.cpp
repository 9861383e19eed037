#include "watermark/distributions.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <numeric>

#include "kernels/error.h"
#include "watermark/samples.h"
#include "watermark/special_functions.h"

namespace dw {
namespace {

// The smallest scale of a fit, in units of the mean distance from the median: samples with many equal values
// (quantised networks) have no largest likelihood otherwise.
constexpr double smallest_scale = 1e-6;

/// The minimum of a unimodal function on [low, high], by Brent's method (golden sections and parabolas).
template <typename Function>
double minimum_of(Function function, double low, double high, double tolerance) {
  const double golden = 0.5 * (3 - std::sqrt(5.0));
  double x = low + golden * (high - low), w = x, v = x;
  double fx = function(x), fw = fx, fv = fx;
  double step = 0, previous = 0;
  for (int i = 0; i < 100; ++i) {
    const double middle = 0.5 * (low + high);
    const double resolution = tolerance * std::fabs(x) + 1e-12;
    if (std::fabs(x - middle) <= 2 * resolution - 0.5 * (high - low)) break;
    bool parabola = false;
    if (std::fabs(previous) > resolution) {
      const double r = (x - w) * (fx - fv);
      double q = (x - v) * (fx - fw);
      double p = (x - v) * q - (x - w) * r;
      q = 2 * (q - r);
      if (q > 0) p = -p;
      q = std::fabs(q);
      parabola = std::fabs(p) < std::fabs(0.5 * q * previous) && p > q * (low - x) && p < q * (high - x);
      if (parabola) {
        previous = step;
        step = p / q;
        const double next = x + step;
        if (next - low < 2 * resolution || high - next < 2 * resolution)
          step = std::copysign(resolution, middle - x);
      }
    }
    if (!parabola) {
      previous = x < middle ? high - x : low - x;
      step = golden * previous;
    }
    const double next = x + (std::fabs(step) >= resolution ? step : std::copysign(resolution, step));
    const double value = function(next);
    if (value <= fx) {
      (next < x ? high : low) = x;
      v = w, fv = fw;
      w = x, fw = fx;
      x = next, fx = value;
    } else {
      (next < x ? low : high) = next;
      if (value <= fw || w == x) {
        v = w, fv = fw;
        w = next, fw = value;
      } else if (value <= fv || v == x || v == w) {
        v = next, fv = value;
      }
    }
  }
  return x;
}

double median_of(std::span<const double> sorted) {
  const size_t half = sorted.size() / 2;
  return sorted.size() % 2 == 1 ? sorted[half] : 0.5 * (sorted[half - 1] + sorted[half]);
}

double mean_distance(std::span<const double> values, double centre) {
  double sum = 0;
  for (const double x : values) sum += std::fabs(x - centre);
  return sum / static_cast<double>(values.size());
}

double log_normaliser(const Distribution& d) {
  switch (d.family) {
    case Family::normal:
      return 0.5 * std::log(2 * std::numbers::pi) + std::log(d.scale);
    case Family::laplace:
      return std::log(2 * d.scale);
    case Family::logistic:
      return std::log(d.scale);
    case Family::student_t:
      return 0.5 * std::log(std::numbers::pi * d.shape) + std::log(d.scale) + std::lgamma(0.5 * d.shape) -
             std::lgamma(0.5 * (d.shape + 1));
    case Family::generalised_normal:
      return std::log(2 * d.scale / d.shape) + std::lgamma(1 / d.shape);
  }
  fail("unknown family of distributions");
}

/// -log density + log_normaliser.
double deviance(const Distribution& d, double x) {
  const double z = (x - d.location) / d.scale;
  switch (d.family) {
    case Family::normal:
      return 0.5 * z * z;
    case Family::laplace:
      return std::fabs(z);
    case Family::logistic:
      return std::fabs(z) + 2 * std::log1p(std::exp(-std::fabs(z)));
    case Family::student_t:
      return 0.5 * (d.shape + 1) * std::log1p(z * z / d.shape);
    case Family::generalised_normal:
      return std::pow(std::fabs(z), d.shape);
  }
  fail("unknown family of distributions");
}

double log_likelihood_of(const Distribution& d, std::span<const double> values) {
  double sum = 0;
  for (const double x : values) sum += deviance(d, x);
  return -sum - static_cast<double>(values.size()) * log_normaliser(d);
}

Distribution fit_normal(std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double squares = 0;
  for (const double x : values) squares += (x - mean) * (x - mean);
  return {Family::normal, mean, std::sqrt(squares / n)};
}

/// Newton's method in (1/scale, location/scale), in which the likelihood is concave.
Distribution fit_logistic(std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  const auto deviance_at = [&](double slope, double offset) {
    if (!(slope > 0)) return std::numeric_limits<double>::infinity();
    double sum = -n * std::log(slope);
    for (const double x : values) {
      const double y = std::fabs(slope * x - offset);
      sum += y + 2 * std::log1p(std::exp(-y));
    }
    return sum;
  };
  const Distribution start = fit_normal(values);
  double slope = std::numbers::pi / (std::sqrt(3.0) * start.scale), offset = start.location * slope;
  double value = deviance_at(slope, offset);
  for (int i = 0; i < 100; ++i) {
    double gs = -n / slope, go = 0, hss = n / (slope * slope), hso = 0, hoo = 0;
    for (const double x : values) {
      const double t = std::tanh(0.5 * (slope * x - offset));
      const double curvature = 0.5 * (1 - t * t);
      gs += t * x, go -= t;
      hss += curvature * x * x, hso -= curvature * x, hoo += curvature;
    }
    const double determinant = hss * hoo - hso * hso;
    const double ds = (hoo * gs - hso * go) / determinant, dof = (hss * go - hso * gs) / determinant;
    double share = 1;
    while (share > 1e-6 && !(deviance_at(slope - share * ds, offset - share * dof) <= value)) share /= 2;
    if (!(share > 1e-6)) break;
    slope -= share * ds, offset -= share * dof;
    value = deviance_at(slope, offset);
    if (std::fabs(ds) < 1e-10 * slope && std::fabs(dof) < 1e-10 * slope) break;
  }
  return {Family::logistic, offset / slope, 1 / slope};
}

/// Location and scale for fixed degrees of freedom, by expectation maximisation with the scale expanded
/// (Kent, Tyler & Vardi 1994), starting from and returned in `d`.
void settle_student_t(Distribution& d, std::span<const double> values) {
  for (int i = 0; i < 500; ++i) {
    double weights = 0, sum = 0, squares = 0;
    const double squared_scale = d.scale * d.scale;
    for (const double x : values) {
      const double distance = x - d.location;
      const double weight = (d.shape + 1) / (d.shape + distance * distance / squared_scale);
      weights += weight;
      sum += weight * distance;
      squares += weight * distance * distance;
    }
    const double shift = sum / weights;
    const double scale =
        std::max(smallest_scale, std::sqrt(std::max(0.0, squares / weights - shift * shift)));
    const double change = std::fabs(scale / d.scale - 1);
    d.location += shift;
    d.scale = scale;
    if (change < 1e-8 && std::fabs(shift) < 1e-8 * scale) break;
  }
}

Distribution fit_student_t(std::span<const double> values) {
  Distribution d{Family::student_t, median_of(values), 1, 5};
  const auto deviance_at = [&](double log_freedom) {
    d.shape = std::exp(log_freedom);
    settle_student_t(d, values);
    return -log_likelihood_of(d, values);
  };
  const double best = minimum_of(deviance_at, std::log(smallest_freedom), std::log(largest_freedom), 1e-6);
  deviance_at(best);
  return d;
}

Distribution fit_generalised_normal(std::span<const double> values) {
  const auto n = static_cast<double>(values.size());
  Distribution d{Family::generalised_normal, median_of(values), 1, 2};
  const auto power_mean = [&](double location, double exponent) {
    double sum = 0;
    for (const double x : values) sum += std::pow(std::fabs(x - location), exponent);
    return sum / n;
  };
  std::vector<double> logs(values.size());
  double previous = std::numeric_limits<double>::infinity();
  // Location and exponent hardly depend on each other in a family this symmetric: they are found in turns.
  for (int turn = 0; turn < 20; ++turn) {
    std::transform(values.begin(), values.end(), logs.begin(),
                   [&](double x) { return std::log(std::max(std::fabs(x - d.location), smallest_scale)); });
    const auto settled = [&](double log_exponent) {
      const double exponent = std::exp(log_exponent);
      double sum = 0;
      for (const double value : logs) sum += std::exp(exponent * value);
      d.shape = exponent;
      d.scale = std::max(smallest_scale, std::pow(exponent * sum / n, 1 / exponent));
      return 1 / exponent + log_normaliser(d);
    };
    const double deviance_per_value =
        settled(minimum_of(settled, std::log(smallest_exponent), std::log(largest_exponent), 1e-7));
    if (!(deviance_per_value < previous - 1e-10)) break;
    previous = deviance_per_value;

    // The location minimises the mean power; below exponent 2 it lies near the median, above anywhere.
    const double median = median_of(values), reach = mean_distance(values, median);
    const double low = d.shape > 2 ? values.front() : std::max(values.front(), median - 2 * reach);
    const double high = d.shape > 2 ? values.back() : std::min(values.back(), median + 2 * reach);
    const double location = minimum_of([&](double at) { return power_mean(at, d.shape); }, low, high, 1e-9);
    if (power_mean(location, d.shape) < power_mean(d.location, d.shape)) d.location = location;
  }
  d.scale = std::max(smallest_scale, std::pow(d.shape * power_mean(d.location, d.shape), 1 / d.shape));
  return d;
}

Distribution fit_standardised(Family family, std::span<const double> values) {
  switch (family) {
    case Family::normal:
      return fit_normal(values);
    case Family::laplace: {
      const double median = median_of(values);
      return {Family::laplace, median, mean_distance(values, median)};
    }
    case Family::logistic:
      return fit_logistic(values);
    case Family::student_t:
      return fit_student_t(values);
    case Family::generalised_normal:
      return fit_generalised_normal(values);
  }
  fail("unknown family of distributions");
}

}  // namespace

std::string_view name_of(Family family) {
  switch (family) {
    case Family::normal:
      return "normal";
    case Family::laplace:
      return "Laplace";
    case Family::logistic:
      return "logistic";
    case Family::student_t:
      return "Student-t";
    case Family::generalised_normal:
      return "generalised normal";
  }
  fail("unknown family of distributions");
}

double log_density(const Distribution& distribution, double x) {
  return -deviance(distribution, x) - log_normaliser(distribution);
}

double cumulative(const Distribution& d, double x) {
  const double z = (x - d.location) / d.scale;
  const auto mirrored = [&](double upper_tail) { return z > 0 ? 1 - upper_tail : upper_tail; };
  switch (d.family) {
    case Family::normal:
      return 0.5 * std::erfc(-z / std::numbers::sqrt2);
    case Family::laplace:
      return mirrored(0.5 * std::exp(-std::fabs(z)));
    case Family::logistic:
      return mirrored(1 / (1 + std::exp(std::fabs(z))));
    case Family::student_t:
      return mirrored(0.5 * regularised_beta(d.shape / (d.shape + z * z), 0.5 * d.shape, 0.5));
    case Family::generalised_normal:
      return mirrored(0.5 * (1 - regularised_gamma(1 / d.shape, std::pow(std::fabs(z), d.shape))));
  }
  fail("unknown family of distributions");
}

double quantile(const Distribution& d, double p) {
  require(p > 0 && p < 1, "quantile of {}: expected a probability inside (0, 1)", p);
  // By halving, from the centre outwards: every family is symmetric about its location.
  const double tail = std::min(p, 1 - p);
  double reach = d.scale;
  while (cumulative(d, d.location - reach) > tail && reach < 1e300) reach *= 2;
  double low = 0, high = reach;
  for (int i = 0; i < 200 && high - low > 1e-13 * high; ++i) {
    const double middle = 0.5 * (low + high);
    (cumulative(d, d.location - middle) > tail ? low : high) = middle;
  }
  const double distance = 0.5 * (low + high);
  return p < 0.5 ? d.location - distance : d.location + distance;
}

Fit fit(Family family, std::span<const double> sorted) {
  require(sorted.size() >= 2 && sorted.front() < sorted.back(),
          "fit of the {} distribution: {} values, expected at least two different ones", name_of(family),
          sorted.size());
  // In units of the sample's own spread, so that no power over- or underflows.
  const double centre = median_of(sorted), unit = mean_distance(sorted, centre);
  std::vector<double> values(sorted.size());
  std::transform(sorted.begin(), sorted.end(), values.begin(), [&](double x) { return (x - centre) / unit; });
  Fit result;
  Distribution& d = result.distribution;
  d = fit_standardised(family, values);
  result.log_likelihood = log_likelihood_of(d, values) - static_cast<double>(values.size()) * std::log(unit);
  const int parameters = d.shape > 0 ? 3 : 2;
  result.aic = 2 * parameters - 2 * result.log_likelihood;
  result.ks_distance = ks_distance(values, [&](double x) { return cumulative(d, x); });
  d.location = centre + unit * d.location;
  d.scale *= unit;
  return result;
}

std::vector<Fit> fit_all(std::span<const double> sorted) {
  std::vector<Fit> fits;
  if (sorted.size() < smallest_fit_sample || sorted.front() == sorted.back()) return fits;
  for (const Family family : families) fits.push_back(fit(family, sorted));
  return fits;
}

std::vector<int> ranks_of(std::span<const Fit> fits) {
  std::vector<int> ranks;
  for (const Fit& candidate : fits) {
    ranks.push_back(1 + static_cast<int>(std::count_if(fits.begin(), fits.end(), [&](const Fit& other) {
                      return other.aic < candidate.aic;
                    })));
  }
  return ranks;
}

}  // namespace dw
