#include "watermark/json_fields.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/strict_json.h"
#include "kernels/error.h"
#include "watermark/crypto.h"

namespace dw {

using nlohmann::json;

bool is_clean_text(std::string_view text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<uint8_t>(text[i]);
    if (byte < 0x20 || byte == 0x7f) return false;
    // U+0080 to U+009F, control characters as well.
    if (byte == 0xc2 && i + 1 < text.size() && static_cast<uint8_t>(text[i + 1]) < 0xa0) return false;
  }
  try {
    return !json(text).dump().empty();
  } catch (const json::exception&) {
    return false;  // not UTF-8
  }
}

JsonFields::JsonFields(const json& object, std::string where, std::initializer_list<std::string_view> known)
    : object_(object), where_(std::move(where)) {
  require(object.is_object(), "{}: expected an object, found {}", where_, object.type_name());
  for (const auto& [name, value] : object.items())
    require(std::find(known.begin(), known.end(), name) != known.end(), "{}: unknown field '{}'", where_,
            shortened(name));
}

bool JsonFields::has(const char* name) const {
  return object_.contains(name);
}

const json& JsonFields::get(const char* name) const {
  require(object_.contains(name), "{}: field '{}' is missing", where_, name);
  return object_[name];
}

std::string JsonFields::text(const char* name, size_t least, size_t most) const {
  const json& value = get(name);
  require(value.is_string(), "{}.{}: expected a string, found {}", where_, name, value.type_name());
  const auto& text = value.get_ref<const std::string&>();
  require(text.size() >= least && text.size() <= most, "{}.{}: expected {} to {} bytes, found {}", where_,
          name, least, most, text.size());
  require(is_clean_text(text), "{}.{}: holds control characters", where_, name);
  return text;
}

int64_t JsonFields::integer(const char* name, int64_t least, int64_t most) const {
  const json& value = get(name);
  const bool is_huge = value.is_number_unsigned() && value.get<uint64_t>() > INT64_MAX;
  const bool fits =
      value.is_number_integer() && !is_huge && value.get<int64_t>() >= least && value.get<int64_t>() <= most;
  require(fits, "{}.{}: expected an integer from {} to {}, found {}", where_, name, least, most,
          shortened(value.dump(), 40));
  return value.get<int64_t>();
}

double JsonFields::number(const char* name, double above, double most) const {
  const json& value = get(name);
  const double found = value.is_number() ? value.get<double>() : std::nan("");
  require(found > above && found <= most, "{}.{}: expected a number above {} and at most {}, found {}",
          where_, name, above, most, shortened(value.dump(), 40));
  return found;
}

void JsonFields::hex(const char* name, std::span<uint8_t> out) const {
  const json& value = get(name);
  // The value may be a secret: the error does not repeat it.
  require(value.is_string() && from_hex(value.get_ref<const std::string&>(), out),
          "{}.{}: expected {} lower-case hexadecimal digits", where_, name, 2 * out.size());
}

const json& JsonFields::array(const char* name, size_t least, size_t most) const {
  const json& value = get(name);
  require(value.is_array() && value.size() >= least && value.size() <= most,
          "{}.{}: expected an array of {} to {} elements, found {}", where_, name, least, most,
          value.is_array() ? std::to_string(value.size()) : value.type_name());
  return value;
}

JsonFields JsonFields::object(const char* name, std::initializer_list<std::string_view> known) const {
  return JsonFields(get(name), fmt::format("{}.{}", where_, name), known);
}

}  // namespace dw
