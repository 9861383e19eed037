// The two incomplete integrals that distribution functions of Student's t and the generalised normal need.
#pragma once

namespace dw {

/// P(a, x) = γ(a, x) / Γ(a), a > 0, x >= 0; to about 1e-14.
double regularised_gamma(double a, double x);

/// I_x(a, b), a > 0, b > 0, x in [0, 1]; to about 1e-13.
double regularised_beta(double x, double a, double b);

}  // namespace dw
