// The exceptions of the whole project. Every message says what was expected, what was found, and where.
#pragma once

#include <fmt/format.h>

#include <stdexcept>
#include <string>

namespace dw {

/// Something failed: a bad file, a shape that does not fit, a device that is absent. Programs exit with 1.
struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// The caller asked for something that makes no sense: wrong option, wrong value. Programs exit with 2.
struct UsageError : Error {
  using Error::Error;
};

/// A graph is being captured and needs memory that the pool has none of in its cache (kernels/memory_pool.h).
struct FrozenPoolError : Error {
  using Error::Error;
};

/// Throws Error with a formatted message.
template <typename... Args>
[[noreturn]] void fail(fmt::format_string<Args...> format, Args&&... args) {
  throw Error(fmt::format(format, std::forward<Args>(args)...));
}

/// Throws Error with a formatted message unless `condition` holds.
template <typename... Args>
void require(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition) [[unlikely]]
    throw Error(fmt::format(format, std::forward<Args>(args)...));
}

}  // namespace dw
