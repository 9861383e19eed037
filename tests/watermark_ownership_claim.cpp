// Key and claim files: permissions, round trips, tampering, hostile content.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <limits>
#include <nlohmann/json.hpp>

#include "core/files.h"
#include "kernels/error.h"
#include "tests/watermark_ownership_support.h"

using namespace dw;
using nlohmann::json;
using test::contains;
using test::error_of;
using test::fixed_key;
using test::ScratchFolder;
using test::small_mark;

namespace {

Claim signed_claim() {
  Claim claim = make_claim(fixed_key());
  add_mark(claim, fixed_key(), small_mark());
  return claim;
}

/// The error of loading the claim (or key) file after `edit` has changed it.
template <typename Edit, typename Load>
std::string error_after(const std::filesystem::path& good, Edit edit, Load load) {
  json file = json::parse(read_text_file(good));
  edit(file);
  const std::filesystem::path bad = good.parent_path() / "bad.json";
  test::write_quickly(bad, file.dump());
  const std::string error = error_of([&] { load(bad); });
  CHECK((error.empty() || contains(error, bad.string())));
  return error;
}

}  // namespace

TEST_CASE("ownership: a key file is private, never overwritten, and comes back as it was") {
  const ScratchFolder folder;
  const std::filesystem::path path = folder / "owner.key";
  const OwnerKey key = generate_key("Grace Hopper", 512, "note with \"quotes\" and ü");
  save_key_and_claim(key, path);
  struct stat status {};
  REQUIRE(::stat(path.c_str(), &status) == 0);
  CHECK((status.st_mode & 0777) == 0600);

  const OwnerKey back = load_key(path);
  CHECK(back.statement == key.statement);
  CHECK(std::equal(back.master.bytes().begin(), back.master.bytes().end(), key.master.bytes().begin()));
  REQUIRE(back.signing_seed);
  CHECK(payload_of(back.master, back.statement) == payload_of(key.master, key.statement));
  const Claim claim = load_claim(folder / "owner.claim.json");
  CHECK(opens(back, claim));
  CHECK_FALSE(opens(fixed_key(), claim));
  CHECK(claim.file_digest == hex_digest(read_file(folder / "owner.claim.json")));

  const std::string before = read_text_file(path);
  CHECK(contains(error_of([&] { save_key(fixed_key(), path); }), "never overwritten"));
  CHECK(contains(error_of([&] { save_key_and_claim(fixed_key(), path); }), "never overwritten"));
  CHECK(read_text_file(path) == before);
  // A claim without its key is not overwritten either, and no key is made beside it.
  std::filesystem::remove(path);
  CHECK(contains(error_of([&] { save_key_and_claim(fixed_key(), path); }), "never overwritten"));
  CHECK_FALSE(std::filesystem::exists(path));
}

TEST_CASE("ownership: two keys of one owner share nothing") {
  const OwnerKey a = generate_key("Ada");
  const OwnerKey b = generate_key("Ada");
  CHECK(to_hex(a.master.bytes()) != to_hex(b.master.bytes()));
  CHECK(to_hex(a.master.bytes()) != to_hex(a.signing_seed->bytes()));
  CHECK(a.statement.public_key != b.statement.public_key);
}

TEST_CASE("ownership: key generation refuses what a statement may not hold") {
  CHECK_THROWS_AS(generate_key(""), UsageError);
  CHECK_THROWS_AS(generate_key("Ada", 63), UsageError);
  CHECK_THROWS_AS(generate_key("Ada", 32768), UsageError);
  CHECK_THROWS_AS(generate_key("\xff"), UsageError);
  CHECK_THROWS_AS(generate_key("Ada\x1b[2J"), UsageError);
  CHECK_THROWS_AS(generate_key("Ada", 256, "\xc2\x9b"), UsageError);
  CHECK_THROWS_AS(generate_key(std::string(257, 'a')), UsageError);
  CHECK_THROWS_AS(generate_key("Ada", 256, std::string(4097, 'a')), UsageError);
  CHECK_NOTHROW(generate_key("Ada", 32767, "né à Ā"));
}

TEST_CASE("ownership: the claim lies beside its key") {
  CHECK(claim_path_for("a/owner.key") == "a/owner.claim.json");
  CHECK(claim_path_for("owner") == "owner.claim.json");
  CHECK(claim_path_for("my.key.pem") == "my.key.pem.claim.json");
}

TEST_CASE("ownership: marks are signed, kept once, and only by the claim's own key") {
  Claim claim = make_claim(fixed_key());
  CHECK(add_mark(claim, fixed_key(), small_mark()));
  CHECK_FALSE(add_mark(claim, fixed_key(), small_mark()));
  Mark other = small_mark();
  other.strength = 7;
  CHECK(add_mark(claim, fixed_key(), other));
  REQUIRE(claim.marks.size() == 2);

  const ScratchFolder folder;
  save_claim(claim, folder / "c");
  const Claim back = load_claim(folder / "c");
  CHECK(back.statement == claim.statement);
  CHECK(back.commitment == claim.commitment);
  REQUIRE(back.marks.size() == 2);
  CHECK(back.marks[0].mark == small_mark());
  CHECK(back.marks[1].mark == other);
  save_claim(back, folder / "d");
  CHECK(read_text_file(folder / "c") == read_text_file(folder / "d"));

  CHECK(contains(error_of([&] { add_mark(claim, generate_key("Eve"), small_mark()); }), "does not belong"));
  OwnerKey judge = fixed_key();
  judge.signing_seed.reset();
  CHECK(contains(error_of([&] { add_mark(claim, judge, small_mark()); }), "no signing seed"));
  save_key(judge, folder / "judge.key");
  CHECK_FALSE(load_key(folder / "judge.key").signing_seed);
  other.bits = 512;
  CHECK(contains(error_of([&] { add_mark(claim, fixed_key(), other); }), "512 bits"));
}

TEST_CASE("ownership: any change to a claim is found") {
  const ScratchFolder folder;
  const std::filesystem::path good = folder / "good.claim.json";
  save_claim(signed_claim(), good);
  const auto after = [&](auto edit) { return error_after(good, edit, load_claim); };
  CHECK(after([](json&) {}).empty());

  CHECK(contains(after([](json& f) { f["statement"]["owner"] = "Eve"; }), "signature does not fit"));
  CHECK(contains(after([](json& f) { f["statement"]["bits"] = 255; }), "signature does not fit"));
  CHECK(contains(after([](json& f) { f["statement"]["date"] = "2025-03-01T12:00:00Z"; }),
                 "signature does not fit"));
  CHECK(contains(after([](json& f) { f["commitment"] = std::string(64, '0'); }), "signature does not fit"));
  CHECK(contains(after([](json& f) { f["signature"] = std::string(128, '0'); }), "signature does not fit"));
  CHECK(contains(after([](json& f) { f["statement"]["public_key"] = std::string(64, '0'); }), "signature"));
  const auto mark_change = [&](const char* field, const json& value) {
    return after([&](json& f) { f["marks"][0][field] = value; });
  };
  for (const auto& [field, value] : {std::pair<const char*, json>{"network", "wrn-16-1"},
                                     {"strength", 9},
                                     {"amplitude", 0.8},
                                     {"tau", 0.71},
                                     {"density", "host"},
                                     {"match", "full"}})
    CHECK(contains(mark_change(field, value), "marks[0]: signature does not fit"));
  CHECK(
      contains(after([](json& f) { f["marks"][0]["layers"].erase(1); }), "marks[0]: signature does not fit"));
  CHECK(contains(after([](json& f) { f["marks"][0]["layers"][0]["shape"] = {16, 16, 9}; }), "signature"));
  CHECK(contains(after([](json& f) { std::swap(f["marks"][0]["layers"][0], f["marks"][0]["layers"][1]); }),
                 "signature"));
}

TEST_CASE("ownership: a mark signed for another commitment does not fit") {
  Claim claim = signed_claim();
  OwnerKey other = fixed_key();
  other.master = Secret::random();
  Claim transplanted = make_claim(other);
  transplanted.marks = claim.marks;
  CHECK(contains(error_of([&] { check_claim(transplanted, "x"); }), "x: marks[0]: signature"));
}

TEST_CASE("ownership: hostile claims name file and field") {
  const ScratchFolder folder;
  const std::filesystem::path good = folder / "good.claim.json";
  save_claim(signed_claim(), good);
  const auto after = [&](auto edit) { return error_after(good, edit, load_claim); };
  CHECK(contains(after([](json& f) { f["version"] = 2; }),
                 ".version: expected an integer from 1 to 1, found 2"));
  CHECK(contains(after([](json& f) { f["format"] = "deepwater-key"; }), ".format: expected deepwater-claim"));
  CHECK(contains(after([](json& f) { f.erase("marks"); }), "'marks' is missing"));
  CHECK(contains(after([](json& f) { f["extra"] = 1; }), "unknown field 'extra'"));
  CHECK(contains(after([](json& f) { f["statement"]["extra"] = 1; }), "statement: unknown field"));
  CHECK(contains(after([](json& f) { f["statement"] = 3; }), "statement: expected an object"));
  CHECK(contains(after([](json& f) { f["statement"]["owner"] = std::string(300, 'x'); }), "statement.owner"));
  CHECK(contains(after([](json& f) { f["statement"]["owner"] = "a\nb"; }), "control characters"));
  CHECK(contains(after([](json& f) { f["statement"]["date"] = "yesterday"; }), "date 'yesterday'"));
  CHECK(contains(after([](json& f) { f["statement"]["bits"] = 63; }),
                 "statement.bits: expected an integer from 64"));
  CHECK(contains(after([](json& f) { f["statement"]["bits"] = 256.0; }), "statement.bits"));
  CHECK(contains(after([](json& f) { f["statement"]["bits"] = ~uint64_t{0}; }), "statement.bits"));
  CHECK(contains(after([](json& f) { f["commitment"] = "abc"; }), "commitment: expected 64 lower-case hex"));
  CHECK(contains(after([](json& f) { f["marks"] = json::object(); }), "marks: expected an array"));
  const auto mark = [&](auto edit) { return after([&](json& f) { edit(f["marks"][0]); }); };
  CHECK(contains(mark([](json& m) { m["amplitude"] = 0.91; }), "marks[0].amplitude"));
  CHECK(contains(mark([](json& m) { m["amplitude"] = 0; }), "marks[0].amplitude"));
  CHECK(contains(mark([](json& m) { m["tau"] = -1; }), "marks[0].tau"));
  CHECK(contains(mark([](json& m) { m["tau"] = "x"; }), "marks[0].tau"));
  CHECK(contains(mark([](json& m) { m["strength"] = nullptr; }), "marks[0].strength"));
  CHECK(contains(mark([](json& m) { m["density"] = "A B"; }), "density"));
  CHECK(contains(mark([](json& m) { m["layers"] = json::array(); }),
                 "marks[0].layers: expected an array of 1"));
  CHECK(contains(mark([](json& m) { m["layers"][1] = m["layers"][0]; }), "listed twice"));
  CHECK(contains(mark([](json& m) { m["layers"][0]["shape"] = {0}; }), "shape [0]"));
  CHECK(contains(mark([](json& m) { m["layers"][0]["shape"] = {-1}; }), "bad extent"));
  CHECK(contains(mark([](json& m) { m["layers"][0]["shape"] = {1U << 31, 1U << 31}; }), "expected 1 to"));
  CHECK(contains(mark([](json& m) { m["layers"][0]["shape"] = std::vector<int>(9, 1); }), "1 to 8 elements"));
  CHECK(contains(mark([](json& m) { m["layers"][0]["name"] = ""; }), "layers[0].name"));
  CHECK(contains(mark([](json& m) { m["bits"] = 512; }), "bits is 512, the statement's is 256"));
  Mark bad = small_mark();
  bad.amplitude = std::numeric_limits<double>::quiet_NaN();
  CHECK(contains(error_of([&] { check_mark(bad, "m"); }), "m: amplitude"));
}

TEST_CASE("ownership: hostile keys name file and field, and do not repeat secrets") {
  const ScratchFolder folder;
  const std::filesystem::path good = folder / "good.key";
  save_key(fixed_key(), good);
  const auto after = [&](auto edit) { return error_after(good, edit, load_key); };
  CHECK(after([](json&) {}).empty());
  CHECK(contains(after([](json& f) { f["version"] = 0; }), ".version"));
  CHECK(contains(after([](json& f) { f["format"] = "x"; }), ".format"));
  CHECK(contains(after([](json& f) { f.erase("master_key"); }), "'master_key' is missing"));
  CHECK(contains(after([](json& f) { f["signing_seed"] = std::string(64, '1'); }), "does not belong"));
  const std::string error = after([](json& f) { f["master_key"] = std::string(63, 'a'); });
  CHECK(contains(error, "master_key: expected 64"));
  CHECK_FALSE(contains(error, "aaaa"));
  CHECK(contains(error_of([&] { load_key(folder / "missing"); }), "cannot open"));
  CHECK(contains(error_of([&] { load_claim(folder / "missing"); }), "cannot open"));
}

TEST_CASE("ownership: truncated or bit-flipped key and claim files give errors, never anything else") {
  const ScratchFolder folder;
  save_key(fixed_key(), folder / "k");
  save_claim(signed_claim(), folder / "c");
  const std::string key = read_text_file(folder / "k");
  const std::string claim = read_text_file(folder / "c");
  const auto load_key_from = [&](const std::string& text) {
    test::write_quickly(folder / "x", text);
    return error_of([&] { load_key(folder / "x"); });
  };
  const auto load_claim_from = [&](const std::string& text) {
    test::write_quickly(folder / "x", text);
    return error_of([&] { load_claim(folder / "x"); });
  };
  // The last byte is a newline.
  for (size_t size = 0; size + 1 < key.size(); size += 3) CHECK(load_key_from(key.substr(0, size)) != "");
  for (size_t size = 0; size + 1 < claim.size(); size += 7)
    CHECK(load_claim_from(claim.substr(0, size)) != "");
  for (size_t i = 0; i < key.size(); i += 2) {
    std::string bad = key;
    bad[i] = static_cast<char>(bad[i] ^ (1 << (i / 2 % 8)));
    load_key_from(bad);
  }
  for (size_t i = 0; i < claim.size(); i += 3) {
    std::string bad = claim;
    bad[i] = static_cast<char>(bad[i] ^ (1 << (i / 3 % 8)));
    // White space aside, every byte is signed, or checked.
    const bool blank = claim[i] == ' ' || claim[i] == '\n';
    const bool error = !load_claim_from(bad).empty();
    CHECK((blank || error));
  }
}
