// What options take that are numbers without an upper limit. CLI11's own checks say the largest double there,
// all of its digits.
#pragma once

#include <CLI/CLI.hpp>
#include <cmath>
#include <string>

namespace dw {

/// A finite number that `accepts`, a predicate, holds for; `what` says which those are.
template <typename Accepts>
CLI::Validator number_check(const std::string& what, const std::string& type, Accepts accepts) {
  return {[=](std::string& text) {
            double value = 0;
            const bool fits =
                CLI::detail::lexical_cast(text, value) && std::isfinite(value) && accepts(value);
            return fits ? std::string() : "expects " + what + ", found '" + text + "'";
          },
          type};
}

inline CLI::Validator positive_number() {
  return number_check("a number above 0", "POSITIVE", [](double value) { return value > 0; });
}

inline CLI::Validator non_negative_number() {
  return number_check("a number of at least 0", "NONNEGATIVE", [](double value) { return value >= 0; });
}

}  // namespace dw
