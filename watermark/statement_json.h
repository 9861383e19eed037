// A statement as JSON, the same in key and claim files.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "watermark/json_fields.h"
#include "watermark/key.h"

namespace dw {

nlohmann::ordered_json statement_to_json(const Statement& statement);
/// Checked. `where` names the file.
Statement statement_from_json(const JsonFields& parent, std::string_view where);

}  // namespace dw
