// Reading the fields of a JSON object from an untrusted file: every error names the file and the field.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <nlohmann/json_fwd.hpp>
#include <span>
#include <string>
#include <string_view>

namespace dw {

/// Text that may stand in a statement and on a terminal: UTF-8 without control characters.
bool is_clean_text(std::string_view text);

/// A view of one object; the JSON must outlive it.
class JsonFields {
 public:
  /// `where` starts every error ("owner.claim.json: statement"). A field not in `known` is an Error: unsigned
  /// additions must not look as if they were signed.
  JsonFields(const nlohmann::json& object, std::string where, std::initializer_list<std::string_view> known);

  bool has(const char* name) const;
  std::string text(const char* name, size_t least, size_t most) const;
  int64_t integer(const char* name, int64_t least, int64_t most) const;
  /// A finite number with `above` < value <= `most`.
  double number(const char* name, double above, double most) const;
  /// Exactly out.size() bytes in lower-case hexadecimal.
  void hex(const char* name, std::span<uint8_t> out) const;
  const nlohmann::json& array(const char* name, size_t least, size_t most) const;
  JsonFields object(const char* name, std::initializer_list<std::string_view> known) const;

 private:
  const nlohmann::json& get(const char* name) const;
  const nlohmann::json& object_;
  std::string where_;
};

}  // namespace dw
