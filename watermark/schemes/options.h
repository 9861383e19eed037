// Reading a scheme's options: text by name, with defaults and ranges.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "watermark/scheme.h"

namespace dw {

class OptionReader {
 public:
  /// `options` must outlive this. UsageError for a name not in `known`.
  OptionReader(const SchemeOptions& options, std::string_view scheme,
               std::initializer_list<std::string_view> known);

  /// A finite number with `above` < value <= `most`; UsageError otherwise.
  double number(const std::string& name, double standard, double above, double most) const;
  /// UsageError unless `least` <= value <= `most`.
  int64_t integer(const std::string& name, int64_t standard, int64_t least, int64_t most) const;
  /// The place of the value among `words`; `standard` where none is given. UsageError for any other.
  size_t choice(const std::string& name, std::initializer_list<std::string_view> words,
                size_t standard = 0) const;

 private:
  const SchemeOptions& options_;
  std::string scheme_;
};

}  // namespace dw
