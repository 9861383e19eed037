// Arrays for kernel tests: values as doubles in logical row-major order on one side, a strided view of device
// memory of some dtype and layout on the other.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstring>
#include <vector>

#include "kernels/table.h"
#include "tests/devices.h"

namespace dw {

using Shape = std::vector<int64_t>;

/// How the elements of an array lie in memory.
enum class Layout { row_major, reversed, channels_last, gaps };

inline constexpr Layout all_layouts[] = {Layout::row_major, Layout::reversed, Layout::channels_last,
                                         Layout::gaps};

inline int64_t count_of(const Shape& shape) {
  int64_t count = 1;
  for (const int64_t size : shape) count *= size;
  return count;
}

class TestArray {
 public:
  /// Values are rounded to `dtype`; gaps are filled with 77.
  TestArray(Device device, DType dtype, Shape shape, const std::vector<double>& values,
            Layout layout = Layout::row_major)
      : shape_(std::move(shape)), stride_(shape_.size()), dtype_(dtype), device_(device) {
    REQUIRE(values.size() == static_cast<size_t>(count_of(shape_)));
    std::vector<size_t> order;  // innermost first
    for (size_t d = shape_.size(); d-- > 0;) order.push_back(d);
    if (layout == Layout::reversed) std::reverse(order.begin(), order.end());
    if (layout == Layout::channels_last && shape_.size() > 2) {
      order.erase(std::find(order.begin(), order.end(), 1));
      order.insert(order.begin(), 1);
    }
    int64_t extent = layout == Layout::gaps ? 2 : 1;
    for (const size_t d : order) {
      stride_[d] = extent;
      extent *= shape_[d] + (layout == Layout::gaps ? 1 : 0);
    }
    first_ = layout == Layout::gaps ? 3 : 0;
    elements_ = extent + first_;
    buffer_ = Buffer(device, static_cast<size_t>(elements_) * size_of(dtype));
    const std::vector<int64_t> at = offsets();
    dispatch_any(dtype, [&](auto zero) {
      using T = decltype(zero);
      std::vector<T> memory(static_cast<size_t>(elements_), from_double<T>(77));
      for (size_t i = 0; i < values.size(); ++i)
        memory[static_cast<size_t>(at[i])] = from_double<T>(values[i]);
      copy_bytes(device_, buffer_.data(), cpu, memory.data(), memory.size() * sizeof(T));
    });
  }

  View view() const {
    View result;
    result.data = static_cast<std::byte*>(buffer_.data()) + static_cast<size_t>(first_) * size_of(dtype_);
    result.dtype = dtype_;
    result.rank = static_cast<int>(shape_.size());
    for (size_t d = 0; d < shape_.size(); ++d) {
      result.shape[d] = shape_[d];
      result.stride[d] = stride_[d];
    }
    return result;
  }

  void* data() const { return view().data; }
  const Shape& shape() const { return shape_; }

  /// The elements, in logical row-major order.
  std::vector<double> values() const { return read(offsets()); }

  /// Whether memory between the elements still holds 77.
  bool gaps_untouched() const {
    std::vector<double> memory = read(all());
    for (const int64_t at : offsets()) memory[static_cast<size_t>(at)] = 77;
    return std::all_of(memory.begin(), memory.end(), [](double x) { return x == 77; });
  }

 private:
  template <typename T>
  static T from_double(double value) {
    if constexpr (std::is_same_v<T, bfloat16>)
      return bfloat16(static_cast<float>(value));
    else
      return static_cast<T>(value);
  }

  std::vector<int64_t> all() const {
    std::vector<int64_t> result(static_cast<size_t>(elements_));
    for (size_t i = 0; i < result.size(); ++i) result[i] = static_cast<int64_t>(i);
    return result;
  }

  std::vector<int64_t> offsets() const {
    std::vector<int64_t> result(static_cast<size_t>(count_of(shape_)), first_);
    for (size_t i = 0; i < result.size(); ++i) {
      auto index = static_cast<int64_t>(i);
      for (size_t d = shape_.size(); d-- > 0; index /= shape_[d]) result[i] += index % shape_[d] * stride_[d];
    }
    return result;
  }

  std::vector<double> read(const std::vector<int64_t>& at) const {
    std::vector<double> result;
    dispatch_any(dtype_, [&](auto zero) {
      using T = decltype(zero);
      std::vector<T> memory(static_cast<size_t>(elements_));
      copy_bytes(cpu, memory.data(), device_, buffer_.data(), memory.size() * sizeof(T));
      for (const int64_t offset : at)
        result.push_back(static_cast<double>(memory[static_cast<size_t>(offset)]));
    });
    return result;
  }

  Shape shape_, stride_;
  DType dtype_;
  Device device_;
  int64_t first_ = 0, elements_ = 0;
  Buffer buffer_;
};

/// Reproducible values spread over [low, high), none of them alike by accident.
inline std::vector<double> some_values(int64_t count, double low, double high, uint64_t seed = 1) {
  std::vector<double> values(static_cast<size_t>(count));
  for (size_t i = 0; i < values.size(); ++i)
    values[i] = low + (high - low) * static_cast<double>(uniform_from(philox({seed, 9, 9}, i).word[0]));
  return values;
}

/// Index into a row-major array of `shape` that is broadcast to `to`, for the flat index `i` of `to`.
inline size_t broadcast_index(const Shape& shape, const Shape& to, size_t i) {
  auto rest = static_cast<int64_t>(i);
  int64_t result = 0, extent = 1;
  for (size_t back = 1; back <= to.size(); ++back) {
    const int64_t coordinate = rest % to[to.size() - back];
    rest /= to[to.size() - back];
    if (back > shape.size()) continue;
    const int64_t size = shape[shape.size() - back];
    result += (size == 1 ? 0 : coordinate) * extent;
    extent *= size;
  }
  return static_cast<size_t>(result);
}

/// Equal up to `tolerance` relative to the larger of 1 and the expected value; NaN equals NaN.
inline void check_close(const std::vector<double>& found, const std::vector<double>& expected,
                        double tolerance) {
  REQUIRE(found.size() == expected.size());
  for (size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CAPTURE(found[i]);
    CAPTURE(expected[i]);
    const bool same = found[i] == expected[i] || (std::isnan(found[i]) && std::isnan(expected[i]));
    REQUIRE((same || std::abs(found[i] - expected[i]) <= tolerance * std::max(1.0, std::abs(expected[i]))));
  }
}

/// Rounding of one operation in the dtype.
inline double tolerance_of(DType dtype) {
  return dtype == DType::f64 ? 1e-14 : dtype == DType::f32 ? 2e-6 : dtype == DType::bf16 ? 8e-3 : 0;
}

/// Runs body with one and with two CPU threads; body returns values that must not differ in a bit.
template <typename Body>
void check_thread_invariance(const Body& body) {
  const int before = thread_count();
  set_thread_count(1);
  const auto one = body();
  set_thread_count(2);
  const auto two = body();
  set_thread_count(before);
  REQUIRE(one.size() == two.size());
  CHECK(std::memcmp(one.data(), two.data(), one.size() * sizeof(one[0])) == 0);
}

}  // namespace dw
