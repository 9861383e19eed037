#include "core/strict_json.h"

#include <nlohmann/json.hpp>
#include <string>
#include <unordered_set>
#include <vector>

#include "kernels/error.h"

namespace dw {

std::string shortened(std::string_view text, size_t length) {
  std::string out(text.substr(0, length));
  for (char& c : out)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  if (text.size() > length) out += "...";
  return out;
}

nlohmann::json parse_strict_json(std::string_view text, std::string_view where, JsonLimits limits) {
  using Event = nlohmann::json::parse_event_t;
  struct Container {
    bool is_array;
    size_t elements = 0;
    std::unordered_set<std::string> keys = {};
  };
  std::vector<Container> open;

  const auto count_element = [&] {
    if (open.empty() || !open.back().is_array) return;
    require(++open.back().elements <= limits.array, "{}: an array has more than {} elements", where,
            limits.array);
  };
  const auto watch = [&](int, Event event, nlohmann::json& parsed) {
    switch (event) {
      case Event::object_start:
      case Event::array_start:
        count_element();
        require(open.size() < limits.depth, "{}: JSON nested deeper than {} levels", where, limits.depth);
        open.push_back({event == Event::array_start});
        break;
      case Event::object_end:
      case Event::array_end:
        open.pop_back();
        break;
      case Event::key: {
        const auto& key = parsed.get_ref<const std::string&>();
        require(open.back().keys.insert(key).second, "{}: the name '{}' appears twice", where,
                shortened(key));
        break;
      }
      case Event::value:
        count_element();
        break;
    }
    return true;
  };
  try {
    return nlohmann::json::parse(text, watch);
  } catch (const nlohmann::json::exception& error) {
    fail("{}: not valid JSON: {}", where, shortened(error.what(), 300));
  }
}

}  // namespace dw
