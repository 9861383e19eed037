// JSON from files that may be hostile: duplicate keys, deep nesting and endless arrays are errors.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string_view>

namespace dw {

struct JsonLimits {
  size_t depth = 8;                ///< nested objects and arrays
  size_t array = size_t{1} << 20;  ///< elements of one array
};

/// Parses `text`; every Error starts with `where` (usually the file's name) and tells the position.
nlohmann::json parse_strict_json(std::string_view text, std::string_view where, JsonLimits limits = {});

/// `text` for an error message: cut after `length` bytes, control characters replaced.
std::string shortened(std::string_view text, size_t length = 80);

}  // namespace dw
