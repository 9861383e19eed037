#include "watermark/claim.h"

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <unordered_set>
#include <utility>

#include "core/files.h"
#include "core/strict_json.h"
#include "kernels/error.h"
#include "watermark/carrier.h"
#include "watermark/statement_json.h"

namespace dw {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr size_t file_limit = size_t{1} << 26;
constexpr size_t mark_limit = 1000;
constexpr size_t layer_limit = 100'000;
constexpr size_t rank_limit = 8;
constexpr size_t name_limit = 512;
constexpr size_t word_limit = 32;
constexpr double strength_limit = 1000;
constexpr double amplitude_limit = 0.9;
constexpr double tau_limit = 100;
constexpr size_t parameter_limit = 64;
constexpr const char* own_scheme = "deepwater";

bool is_word(std::string_view text) {
  const auto allowed = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-'; };
  return !text.empty() && text.size() <= word_limit && std::all_of(text.begin(), text.end(), allowed);
}

void check_layer(const MarkedLayer& layer, std::string_view where) {
  require(!layer.name.empty() && layer.name.size() <= name_limit && is_clean_text(layer.name),
          "{}: a layer's name is not 1 to {} bytes of clean UTF-8: '{}'", where, name_limit,
          shortened(layer.name));
  require(!layer.shape.empty() && layer.shape.size() <= rank_limit,
          "{}: layer '{}' has rank {}, expected 1 to {}", where, layer.name, layer.shape.size(), rank_limit);
  int64_t room = static_cast<int64_t>(Carrier::length);
  for (const int64_t extent : layer.shape) {
    require(extent >= 1 && extent <= room, "{}: layer '{}' has shape [{}], expected 1 to {} weights", where,
            layer.name, fmt::join(layer.shape, ", "), Carrier::length);
    room /= extent;
  }
}

void check_own_fields(const Mark& mark, std::string_view where) {
  require(mark.strength > 0 && mark.strength <= strength_limit,
          "{}: strength is {}, expected above 0, at most {}", where, mark.strength, strength_limit);
  require(mark.amplitude > 0 && mark.amplitude <= amplitude_limit,
          "{}: amplitude is {}, expected above 0, at most {}", where, mark.amplitude, amplitude_limit);
  require(mark.tau > 0 && mark.tau <= tau_limit, "{}: tau is {}, expected above 0, at most {}", where,
          mark.tau, tau_limit);
  require(is_word(mark.density), "{}: density '{}' is not a short lower-case word", where,
          shortened(mark.density));
  require(is_word(mark.match), "{}: match '{}' is not a short lower-case word", where, shortened(mark.match));
  require(mark.parameters.empty(), "{}: scheme '{}' has no parameters, found '{}'", where, own_scheme,
          mark.parameters.empty() ? "" : shortened(mark.parameters.begin()->first));
}

// What is not signed must not differ.
void check_parameters(const Mark& mark, std::string_view where) {
  Mark expected = other_mark(mark.scheme, mark.network, mark.bits);
  expected.layers = mark.layers;
  expected.parameters = mark.parameters;
  require(mark == expected, "{}: strength, amplitude, tau, density and match belong to scheme '{}', not '{}'",
          where, own_scheme, mark.scheme);
  require(mark.parameters.size() <= parameter_limit, "{}: {} parameters, expected at most {}", where,
          mark.parameters.size(), parameter_limit);
  for (const auto& [name, value] : mark.parameters) {
    require(is_word(name), "{}: parameter '{}' is not a short lower-case word", where, shortened(name));
    require(std::isfinite(value), "{}: parameter {} is {}, expected a finite number", where, name, value);
  }
}

std::vector<uint8_t> claim_message(const Claim& claim) {
  return CanonicalBytes()
      .text("deepwater claim v1")
      .raw(canonical_bytes(claim.statement))
      .raw(claim.commitment)
      .bytes();
}

std::vector<uint8_t> mark_message(const Digest& commitment, const Mark& mark) {
  const char* label = mark.scheme == own_scheme ? "deepwater mark v1" : "deepwater mark v2";
  return CanonicalBytes().text(label).raw(commitment).raw(canonical_bytes(mark)).bytes();
}

ordered_json mark_to_json(const SignedMark& entry) {
  const Mark& mark = entry.mark;
  ordered_json layers = ordered_json::array();
  for (const MarkedLayer& layer : mark.layers)
    layers.push_back({{"name", layer.name}, {"shape", layer.shape}});
  ordered_json object = {{"network", mark.network}, {"scheme", mark.scheme}, {"bits", mark.bits}};
  if (mark.scheme == own_scheme) {
    object.update({{"strength", mark.strength},
                   {"amplitude", mark.amplitude},
                   {"tau", mark.tau},
                   {"density", mark.density},
                   {"match", mark.match}});
  } else {
    object["parameters"] = ordered_json::object();
    for (const auto& [name, value] : mark.parameters) object["parameters"][name] = value;
  }
  object["layers"] = std::move(layers);
  object["signature"] = to_hex(entry.signature);
  return object;
}

std::map<std::string, double> parameters_from_json(const json& value, const std::string& where) {
  require(value.is_object() && value.size() <= parameter_limit,
          "{}: expected an object of at most {} numbers", where, parameter_limit);
  std::map<std::string, double> parameters;
  for (const auto& [name, number] : value.items()) {
    require(number.is_number(), "{}.{}: expected a number, found {}", where, shortened(name),
            number.type_name());
    parameters[name] = number.get<double>();
  }
  return parameters;
}

SignedMark mark_from_json(const json& value, const std::string& where) {
  require(value.is_object(), "{}: expected an object, found {}", where, value.type_name());
  // A mark without a scheme is ours.
  const bool ours = !value.contains("scheme") || value["scheme"] == own_scheme;
  const JsonFields fields =
      ours ? JsonFields(value, where,
                        {"network", "scheme", "bits", "strength", "amplitude", "tau", "density", "match",
                         "layers", "signature"})
           : JsonFields(value, where, {"network", "scheme", "bits", "parameters", "layers", "signature"});
  const std::string network = fields.text("network", 1, name_limit);
  const int bits = static_cast<int>(fields.integer("bits", minimum_bits, maximum_bits));
  SignedMark entry;
  Mark& mark = entry.mark;
  if (ours) {
    mark.network = network;
    mark.bits = bits;
    mark.strength = fields.number("strength", 0, strength_limit);
    mark.amplitude = fields.number("amplitude", 0, amplitude_limit);
    mark.tau = fields.number("tau", 0, tau_limit);
    mark.density = fields.text("density", 1, word_limit);
    mark.match = fields.text("match", 1, word_limit);
  } else {
    mark = other_mark(fields.text("scheme", 1, word_limit), network, bits);
    require(value.contains("parameters"), "{}: field 'parameters' is missing", where);
    mark.parameters = parameters_from_json(value["parameters"], where + ".parameters");
  }
  for (const json& item : fields.array("layers", ours ? 1 : 0, layer_limit)) {
    const std::string here = fmt::format("{}.layers[{}]", where, mark.layers.size());
    const JsonFields layer(item, here, {"name", "shape"});
    MarkedLayer& added = mark.layers.emplace_back();
    added.name = layer.text("name", 1, name_limit);
    for (const json& extent : layer.array("shape", 1, rank_limit)) {
      require(extent.is_number_unsigned() && extent.get<uint64_t>() <= Carrier::length,
              "{}.shape: bad extent {}", here, shortened(extent.dump(), 40));
      added.shape.push_back(extent.get<int64_t>());
    }
  }
  fields.hex("signature", entry.signature);
  return entry;
}

void save_claim_as(const Claim& claim, const std::filesystem::path& path, AtomicFile::Existing existing) {
  check_claim(claim, path.string());
  ordered_json file = {{"format", "deepwater-claim"}, {"version", 1}};
  file["statement"] = statement_to_json(claim.statement);
  file["commitment"] = to_hex(claim.commitment);
  file["signature"] = to_hex(claim.signature);
  file["marks"] = ordered_json::array();
  for (const SignedMark& entry : claim.marks) file["marks"].push_back(mark_to_json(entry));
  write_file_atomically(path, file.dump(2) + "\n", 0644, existing);
}

}  // namespace

uint64_t weight_count(const MarkedLayer& layer) {
  uint64_t count = 1;
  for (const int64_t extent : layer.shape) count *= static_cast<uint64_t>(extent);
  return count;
}

void check_mark(const Mark& mark, std::string_view where) {
  require(!mark.network.empty() && mark.network.size() <= name_limit && is_clean_text(mark.network),
          "{}: network is not 1 to {} bytes of clean UTF-8", where, name_limit);
  require(mark.bits >= minimum_bits && mark.bits <= maximum_bits, "{}: bits is {}, expected {} to {}", where,
          mark.bits, minimum_bits, maximum_bits);
  require(is_word(mark.scheme), "{}: scheme '{}' is not a short lower-case word", where,
          shortened(mark.scheme));
  const bool ours = mark.scheme == own_scheme;
  if (ours) {
    check_own_fields(mark, where);
  } else {
    check_parameters(mark, where);
  }
  require(mark.layers.size() >= (ours ? 1 : 0) && mark.layers.size() <= layer_limit,
          "{}: {} layers, expected {} to {}", where, mark.layers.size(), ours ? 1 : 0, layer_limit);
  std::unordered_set<std::string_view> names;
  for (const MarkedLayer& layer : mark.layers) {
    check_layer(layer, where);
    require(names.insert(layer.name).second, "{}: layer '{}' is listed twice", where, layer.name);
  }
}

std::vector<uint8_t> canonical_bytes(const Mark& mark) {
  CanonicalBytes out;
  out.text(mark.network).u32(static_cast<uint32_t>(mark.layers.size()));
  for (const MarkedLayer& layer : mark.layers) {
    out.text(layer.name).u32(static_cast<uint32_t>(layer.shape.size()));
    for (const int64_t extent : layer.shape) out.u64(static_cast<uint64_t>(extent));
  }
  out.u32(static_cast<uint32_t>(mark.bits));
  if (mark.scheme != own_scheme) {
    out.text(mark.scheme).u32(static_cast<uint32_t>(mark.parameters.size()));
    for (const auto& [name, value] : mark.parameters) out.text(name).f64(value);
    return out.bytes();
  }
  return out.f64(mark.strength).f64(mark.amplitude).f64(mark.tau).text(mark.density).text(mark.match).bytes();
}

Mark other_mark(std::string scheme, std::string network, int bits) {
  Mark mark;
  mark.scheme = std::move(scheme);
  mark.network = std::move(network);
  mark.bits = bits;
  mark.strength = mark.amplitude = mark.tau = 0;
  mark.density = mark.match = "none";
  return mark;
}

Claim make_claim(const OwnerKey& key) {
  require(key.signing_seed.has_value(), "this key has no signing seed: it can verify, but not sign a claim");
  Claim claim;
  claim.statement = key.statement;
  claim.commitment = commitment_of(key.master, key.statement);
  claim.signature = sign(*key.signing_seed, claim_message(claim));
  return claim;
}

bool opens(const OwnerKey& key, const Claim& claim) {
  return commitment_of(key.master, claim.statement) == claim.commitment;
}

bool add_mark(Claim& claim, const OwnerKey& key, const Mark& mark) {
  require(key.signing_seed.has_value(), "this key has no signing seed: it can verify, but not sign a mark");
  require(key.statement == claim.statement && opens(key, claim),
          "the key of {} ({}) does not belong to the claim of {} ({})", key.statement.owner,
          key.statement.date, claim.statement.owner, claim.statement.date);
  check_mark(mark, "mark");
  require(mark.bits == claim.statement.bits, "mark: {} bits, but the key was made for {}", mark.bits,
          claim.statement.bits);
  const auto same = [&](const SignedMark& entry) { return entry.mark == mark; };
  if (std::any_of(claim.marks.begin(), claim.marks.end(), same)) return false;
  require(claim.marks.size() < mark_limit, "the claim has {} marks already; make a new key", mark_limit);
  claim.marks.push_back({mark, sign(*key.signing_seed, mark_message(claim.commitment, mark))});
  claim.file_digest.clear();
  return true;
}

void check_claim(const Claim& claim, std::string_view where) {
  check_statement(claim.statement, fmt::format("{}: statement", where));
  const PublicKey& signer = claim.statement.public_key;
  require(signature_is_valid(claim.signature, claim_message(claim), signer),
          "{}: signature does not fit the statement and commitment", where);
  require(claim.marks.size() <= mark_limit, "{}: {} marks, expected at most {}", where, claim.marks.size(),
          mark_limit);
  for (size_t i = 0; i < claim.marks.size(); ++i) {
    const std::string here = fmt::format("{}: marks[{}]", where, i);
    const SignedMark& entry = claim.marks[i];
    check_mark(entry.mark, here);
    require(entry.mark.bits == claim.statement.bits, "{}: bits is {}, the statement's is {}", here,
            entry.mark.bits, claim.statement.bits);
    require(signature_is_valid(entry.signature, mark_message(claim.commitment, entry.mark), signer),
            "{}: signature does not fit the mark and commitment", here);
  }
}

void save_claim(const Claim& claim, const std::filesystem::path& path) {
  save_claim_as(claim, path, AtomicFile::Existing::replace);
}

Claim load_claim(const std::filesystem::path& path) {
  const std::string where = path.string();
  const std::string text = read_text_file(path, file_limit);
  const json file = parse_strict_json(text, where, {.depth = 6, .array = layer_limit});
  const JsonFields fields(file, where,
                          {"format", "version", "statement", "commitment", "signature", "marks"});
  require(fields.text("format", 0, 100) == "deepwater-claim", "{}.format: expected deepwater-claim", where);
  fields.integer("version", 1, 1);
  Claim claim;
  claim.statement = statement_from_json(fields, where);
  fields.hex("commitment", claim.commitment);
  fields.hex("signature", claim.signature);
  for (const json& item : fields.array("marks", 0, mark_limit))
    claim.marks.push_back(mark_from_json(item, fmt::format("{}: marks[{}]", where, claim.marks.size())));
  check_claim(claim, where);
  claim.file_digest = hex_digest(std::as_bytes(std::span(text)));
  return claim;
}

void save_key_and_claim(const OwnerKey& key, const std::filesystem::path& key_path) {
  const std::filesystem::path claim_path = claim_path_for(key_path);
  const Claim claim = make_claim(key);
  require(!std::filesystem::exists(std::filesystem::symlink_status(claim_path)),
          "{} exists and is never overwritten", claim_path.string());
  save_key(key, key_path);
  try {
    save_claim_as(claim, claim_path, AtomicFile::Existing::refuse);
  } catch (...) {
    std::error_code ignored;
    std::filesystem::remove(key_path, ignored);
    throw;
  }
}

}  // namespace dw
