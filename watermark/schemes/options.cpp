#include "watermark/schemes/options.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "kernels/error.h"

namespace dw {
namespace {

template <typename T>
bool parse(const std::string& text, T& value) {
  const char* const end = text.data() + text.size();
  const auto [stopped, error] = std::from_chars(text.data(), end, value);
  return error == std::errc() && stopped == end && !text.empty();
}

}  // namespace

OptionReader::OptionReader(const SchemeOptions& options, std::string_view scheme,
                           std::initializer_list<std::string_view> known)
    : options_(options), scheme_(scheme) {
  for (const auto& [name, value] : options.values) {
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      throw UsageError(fmt::format("scheme {} has no option \"{}\"; it has {}", scheme, name,
                                   fmt::join(known.begin(), known.end(), ", ")));
    }
  }
}

double OptionReader::number(const std::string& name, double standard, double above, double most) const {
  const auto found = options_.values.find(name);
  if (found == options_.values.end()) return standard;
  double value = 0;
  if (!parse(found->second, value) || !(value > above) || !(value <= most)) {
    throw UsageError(fmt::format("scheme {}: {} = \"{}\", expected a number above {} and at most {}", scheme_,
                                 name, found->second, above, most));
  }
  return value;
}

int64_t OptionReader::integer(const std::string& name, int64_t standard, int64_t least, int64_t most) const {
  const auto found = options_.values.find(name);
  if (found == options_.values.end()) return standard;
  int64_t value = 0;
  if (!parse(found->second, value) || value < least || value > most) {
    throw UsageError(fmt::format("scheme {}: {} = \"{}\", expected a whole number from {} to {}", scheme_,
                                 name, found->second, least, most));
  }
  return value;
}

size_t OptionReader::choice(const std::string& name, std::initializer_list<std::string_view> words,
                            size_t standard) const {
  const auto found = options_.values.find(name);
  if (found == options_.values.end()) return standard;
  const auto place = std::find(words.begin(), words.end(), found->second);
  if (place == words.end()) {
    throw UsageError(fmt::format("scheme {}: {} = \"{}\", expected {}", scheme_, name, found->second,
                                 fmt::join(words.begin(), words.end(), ", ")));
  }
  return static_cast<size_t>(place - words.begin());
}

}  // namespace dw
