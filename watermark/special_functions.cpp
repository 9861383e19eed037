#include "watermark/special_functions.h"

#include <cmath>

namespace dw {
namespace {

constexpr double tiny = 1e-300;
constexpr double relative_error = 1e-16;
constexpr int most_terms = 20000;

double kept_from_zero(double value) {
  return std::fabs(value) < tiny ? tiny : value;
}

/// The continued fraction 1 / (1 + t1 / (1 + t2 / (1 + ...))) by Lentz's method; `term(m)` is t_m.
template <typename Term>
double continued_fraction(Term term) {
  double c = 1, d = 0, value = 1;
  for (int m = 1; m <= most_terms; ++m) {
    const double t = term(m);
    d = 1 / kept_from_zero(1 + t * d);
    c = kept_from_zero(1 + t / c);
    value *= c * d;
    if (std::fabs(c * d - 1) < relative_error) break;
  }
  return 1 / value;
}

}  // namespace

double regularised_gamma(double a, double x) {
  if (!(x > 0)) return 0;
  if (std::isinf(x)) return 1;
  const double front = std::exp(a * std::log(x) - x - std::lgamma(a));
  if (x < a + 1) {
    double term = 1 / a, sum = term;
    for (int n = 1; n <= most_terms && term > relative_error * sum; ++n) {
      term *= x / (a + n);
      sum += term;
    }
    return front * sum;
  }
  // The upper tail as a continued fraction (Legendre), again by Lentz's method.
  double b = x + 1 - a, c = 1 / tiny, d = 1 / kept_from_zero(b), value = d;
  for (int n = 1; n <= most_terms; ++n) {
    const double t = -n * (n - a);
    b += 2;
    d = 1 / kept_from_zero(t * d + b);
    c = kept_from_zero(b + t / c);
    value *= c * d;
    if (std::fabs(c * d - 1) < relative_error) break;
  }
  return 1 - front * value;
}

double regularised_beta(double x, double a, double b) {
  if (!(x > 0)) return 0;
  if (x >= 1) return 1;
  // The fraction converges fast below the mean; above, by symmetry.
  if (x > (a + 1) / (a + b + 2)) return 1 - regularised_beta(1 - x, b, a);
  const double front =
      std::exp(std::lgamma(a + b) - std::lgamma(a) - std::lgamma(b) + a * std::log(x) + b * std::log1p(-x)) /
      a;
  return front * continued_fraction([&](int m) {
           const int k = m / 2;
           return m % 2 == 0 ? k * (b - k) * x / ((a + m - 1) * (a + m))
                             : -(a + k) * (a + b + k) * x / ((a + m - 1) * (a + m));
         });
}

}  // namespace dw
