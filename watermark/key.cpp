#include "watermark/key.h"

#include <ctime>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "core/strict_json.h"
#include "kernels/error.h"
#include "watermark/statement_json.h"

namespace dw {
namespace {

constexpr size_t owner_limit = 256;
constexpr size_t note_limit = 4096;
constexpr size_t file_limit = 1 << 16;

std::string now() {
  const std::time_t seconds = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char text[32];
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

bool is_date(std::string_view text) {
  constexpr std::string_view pattern = "dddd-dd-ddTdd:dd:ddZ";
  if (text.size() != pattern.size()) return false;
  for (size_t i = 0; i < text.size(); ++i)
    if (pattern[i] == 'd' ? text[i] < '0' || text[i] > '9' : text[i] != pattern[i]) return false;
  return true;
}

Digest keyed_digest(const Secret& master, std::string_view label, const Statement& statement) {
  const CanonicalBytes prefix = CanonicalBytes().text(label);
  return Hasher(master).update(prefix.bytes()).update(canonical_bytes(statement)).finish();
}

}  // namespace

void check_statement(const Statement& statement, std::string_view where) {
  require(!statement.owner.empty() && statement.owner.size() <= owner_limit,
          "{}: owner has {} bytes, expected 1 to {}", where, statement.owner.size(), owner_limit);
  require(statement.note.size() <= note_limit, "{}: note has {} bytes, expected at most {}", where,
          statement.note.size(), note_limit);
  require(is_clean_text(statement.owner) && is_clean_text(statement.note),
          "{}: owner or note is not UTF-8 or holds control characters", where);
  require(is_date(statement.date), "{}: date '{}' is not of the form 2026-03-01T12:00:00Z", where,
          shortened(statement.date));
  require(statement.bits >= minimum_bits && statement.bits <= maximum_bits,
          "{}: bits is {}, expected {} to {}", where, statement.bits, minimum_bits, maximum_bits);
}

OwnerKey generate_key(std::string_view owner, int bits, std::string_view note) {
  OwnerKey key{Secret::random(), Secret::random(), {}};
  key.statement = {std::string(owner), now(), std::string(note), public_key_of(*key.signing_seed), bits};
  try {
    check_statement(key.statement, "new key");
  } catch (const Error& error) {
    throw UsageError(error.what());
  }
  return key;
}

std::vector<uint8_t> canonical_bytes(const Statement& statement) {
  return CanonicalBytes()
      .text("deepwater statement v1")
      .text(statement.owner)
      .text(statement.date)
      .text(statement.note)
      .raw(statement.public_key)
      .u32(static_cast<uint32_t>(statement.bits))
      .bytes();
}

Digest commitment_of(const Secret& master, const Statement& statement) {
  return keyed_digest(master, "deepwater commitment v1", statement);
}

std::vector<int8_t> payload_of(const Secret& master, const Statement& statement) {
  const auto bits = static_cast<size_t>(statement.bits);
  std::vector<uint8_t> stream((bits + 7) / 8);
  KeyStream(keyed_digest(master, "deepwater payload v1", statement)).read(0, stream);
  std::vector<int8_t> payload(bits);
  for (size_t j = 0; j < bits; ++j) payload[j] = (stream[j / 8] >> (j % 8) & 1) != 0 ? 1 : -1;
  return payload;
}

nlohmann::ordered_json statement_to_json(const Statement& statement) {
  return {{"owner", statement.owner},
          {"date", statement.date},
          {"note", statement.note},
          {"public_key", to_hex(statement.public_key)},
          {"bits", statement.bits}};
}

Statement statement_from_json(const JsonFields& parent, std::string_view where) {
  const JsonFields fields = parent.object("statement", {"owner", "date", "note", "public_key", "bits"});
  Statement statement;
  statement.owner = fields.text("owner", 1, owner_limit);
  statement.date = fields.text("date", 1, 20);
  statement.note = fields.text("note", 0, note_limit);
  fields.hex("public_key", statement.public_key);
  statement.bits = static_cast<int>(fields.integer("bits", minimum_bits, maximum_bits));
  check_statement(statement, fmt::format("{}: statement", where));
  return statement;
}

void save_key(const OwnerKey& key, const std::filesystem::path& path) {
  check_statement(key.statement, path.string());
  nlohmann::ordered_json file = {{"format", "deepwater-key"}, {"version", 1}};
  file["statement"] = statement_to_json(key.statement);
  file["master_key"] = to_hex(key.master.bytes());
  if (key.signing_seed) file["signing_seed"] = to_hex(key.signing_seed->bytes());
  std::string text = file.dump(2) + "\n";
  for (const char* secret : {"master_key", "signing_seed"})
    if (file.contains(secret)) wipe(file[secret].get_ref<std::string&>());
  write_file_atomically(path, text, 0600, AtomicFile::Existing::refuse);
  wipe(text);
}

OwnerKey load_key(const std::filesystem::path& path) {
  const std::string where = path.string();
  std::string text = read_text_file(path, file_limit);
  nlohmann::json file = parse_strict_json(text, where);
  wipe(text);
  const JsonFields fields(file, where, {"format", "version", "statement", "master_key", "signing_seed"});
  require(fields.text("format", 0, 100) == "deepwater-key", "{}.format: expected deepwater-key", where);
  fields.integer("version", 1, 1);
  OwnerKey key;
  key.statement = statement_from_json(fields, where);
  fields.hex("master_key", key.master.bytes());
  if (fields.has("signing_seed")) fields.hex("signing_seed", key.signing_seed.emplace().bytes());
  for (const char* secret : {"master_key", "signing_seed"})
    if (file.contains(secret)) wipe(file[secret].get_ref<std::string&>());
  require(!key.signing_seed || public_key_of(*key.signing_seed) == key.statement.public_key,
          "{}: signing_seed does not belong to statement.public_key", where);
  return key;
}

std::filesystem::path claim_path_for(const std::filesystem::path& key_path) {
  std::filesystem::path path = key_path;
  if (path.extension() == ".key") path.replace_extension();
  path += ".claim.json";
  return path;
}

}  // namespace dw
