#pragma once

#include <cstdint>

namespace thrust {

template <typename T>
class counting_iterator {
 public:
  explicit counting_iterator(T value) : value_(value) {}
  counting_iterator operator+(int64_t distance) const { return counting_iterator(value_ + distance); }
  T operator*() const { return value_; }

 private:
  T value_;
};

}  // namespace thrust
