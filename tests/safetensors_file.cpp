// Safetensors: round trips, conversions, determinism, and files that lie.
#include <doctest/doctest.h>
#include <sys/stat.h>

#include <cstring>
#include <limits>

#include "core/files.h"
#include "core/safetensors.h"
#include "tests/watermark_ownership_support.h"

using namespace dw;
using test::contains;
using test::error_of;
using test::ScratchFolder;

namespace {

template <typename T>
SafetensorsEntry entry_of(const char* dtype, std::vector<int64_t> shape, const std::vector<T>& values) {
  return {dtype, std::move(shape), std::as_bytes(std::span(values))};
}

std::string file_with(const std::string& header, const std::string& data) {
  const uint64_t length = header.size();
  std::string text(8, '\0');
  std::memcpy(text.data(), &length, 8);
  return text + header + data;
}

std::string open_error(const ScratchFolder& folder, const std::string& content) {
  test::write_quickly(folder / "f.safetensors", content);
  return error_of([&] { SafetensorsFile::open(folder / "f.safetensors"); });
}

std::string header_error(const std::string& header, size_t data_bytes = 8) {
  const ScratchFolder folder;
  return open_error(folder, file_with(header, std::string(data_bytes, 'x')));
}

}  // namespace

TEST_CASE("safetensors: what is written is read back, sorted, aligned and identical from run to run") {
  const ScratchFolder folder;
  const std::vector<float> floats = {1.5F, -2, 3, 4, 5, 6};
  const std::vector<int64_t> longs = {-7};
  const std::vector<uint8_t> bytes = {1, 2, 3};
  const std::map<std::string, SafetensorsEntry> entries = {
      {"b.weight", entry_of("F32", {2, 3}, floats)},
      {"a.bytes", entry_of("U8", {3}, bytes)},
      {"c.count", entry_of("I64", {}, longs)},
      {"empty", entry_of("F32", {0, 4}, std::vector<float>{})}};
  write_safetensors(folder / "one", {{"net", "wrn \"x\""}}, entries);
  write_safetensors(folder / "two", {{"net", "wrn \"x\""}}, entries);
  CHECK(read_text_file(folder / "one") == read_text_file(folder / "two"));

  SafetensorsFile opened = SafetensorsFile::open(folder / "one");
  const SafetensorsFile file = std::move(opened);
  CHECK(file.metadata() == std::map<std::string, std::string>{{"net", "wrn \"x\""}});
  REQUIRE(file.entries().size() == 4);
  CHECK(file.at("b.weight").shape == std::vector<int64_t>{2, 3});
  CHECK(file.read_f32("b.weight") == floats);
  CHECK(file.at("a.bytes").bytes[2] == std::byte{3});
  CHECK(file.at("c.count").shape.empty());
  CHECK(file.read_f32("empty").empty());
  for (const auto& [name, entry] : file.entries())
    CHECK(reinterpret_cast<uintptr_t>(entry.bytes.data()) % safetensors_element_size(entry.dtype) == 0);
}

TEST_CASE("safetensors: the bytes of a small file") {
  const ScratchFolder folder;
  const std::vector<float> one = {1};
  write_safetensors(folder / "f", {{"k", "v"}}, {{"w", entry_of("F32", {1}, one)}});
  const std::string header =
      R"({"__metadata__":{"k":"v"},"w":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}})";
  const std::string padded = header + std::string((8 - header.size() % 8) % 8, ' ');
  CHECK(read_text_file(folder / "f") == file_with(padded, std::string("\0\0\x80\x3f", 4)));
}

TEST_CASE("safetensors: floating types convert") {
  const ScratchFolder folder;
  const std::vector<double> doubles = {0.1, -1e300};
  // 1, -2, 2^-24, 65504, infinity, NaN, -0
  const std::vector<uint16_t> halves = {0x3c00, 0xc000, 0x0001, 0x7bff, 0x7c00, 0x7e00, 0x8000};
  const std::vector<uint16_t> brains = {0x3f80, 0xc040};
  write_safetensors(folder / "f", {},
                    {{"d", entry_of("F64", {2}, doubles)},
                     {"h", entry_of("F16", {7}, halves)},
                     {"b", entry_of("BF16", {2}, brains)},
                     {"u", entry_of("U16", {2}, brains)}});
  const SafetensorsFile file = SafetensorsFile::open(folder / "f");
  CHECK(file.read_f64("d") == doubles);
  CHECK(file.read_f32("d") == std::vector<float>{0.1F, -std::numeric_limits<float>::infinity()});
  const std::vector<float> half = file.read_f32("h");
  CHECK(half[0] == 1);
  CHECK(half[1] == -2);
  CHECK(half[2] == 0x1p-24F);
  CHECK(half[3] == 65504);
  CHECK(std::isinf(half[4]));
  CHECK(std::isnan(half[5]));
  CHECK(std::signbit(half[6]));
  CHECK(file.read_f32("b") == std::vector<float>{1, -3});
  CHECK(contains(error_of([&] { file.read_f32("u"); }), "dtype U16"));
  CHECK(contains(error_of([&] { file.at("x"); }), "no tensor 'x'; its 4 tensors are: b, d, h, u"));
}

TEST_CASE("safetensors: a pass sees every byte once and in order, whatever is read meanwhile") {
  const ScratchFolder folder;
  std::vector<float> values(2'500'000);  // more than a piece
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  const std::vector<uint8_t> rest(10, 7);
  write_safetensors(folder / "f", {},
                    {{"a", entry_of("F32", {2'500'000}, values)},
                     {"b", entry_of("F32", {1000}, std::vector(values.begin(), values.begin() + 1000))},
                     {"c", entry_of("U8", {10}, rest)}});
  const SafetensorsFile file = SafetensorsFile::open(folder / "f");
  const size_t data = file.bytes().size() - 10 - 4 * 2'501'000;
  for (const bool backwards : {false, true}) {
    CAPTURE(backwards);
    std::vector<std::byte> seen;
    FilePass pass(
        file, [&](std::span<const std::byte> piece) { seen.insert(seen.end(), piece.begin(), piece.end()); });
    const FloatView a = file.floats("a", &pass), b = file.floats("b", &pass);
    CHECK(a.offset() == data);
    CHECK(b.offset() == data + 4 * 2'500'000);
    CHECK(seen.empty());
    if (backwards) b.all();
    std::vector<float> some(100);
    a.read(50, some);
    CHECK(some[0] == 50);
    CHECK(seen.size() == (backwards ? data + 4 * 2'501'000 : data + 4 * 150));
    CHECK(a.all() == values);
    CHECK(b.all()[999] == 999);
    CHECK(seen.size() == data + 4 * 2'501'000);
    pass.finish();
    pass.finish();
    CHECK(std::ranges::equal(seen, file.bytes()));
  }
  CHECK(FloatView(values).offset() == 0);
}

TEST_CASE("safetensors: every kind of lie is an error that says where") {
  const auto one = [](const std::string& fields) { return "{\"w\":{" + fields + "}}"; };
  CHECK(header_error(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,8])")).empty());
  CHECK(contains(header_error(one(R"("dtype":"F32","shape":[3],"data_offsets":[0,8])")), "takes 12 bytes"));
  CHECK(contains(header_error(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,9])")),
                 "do not fit the 8 bytes"));
  CHECK(contains(header_error(one(R"("dtype":"F32","shape":[2],"data_offsets":[8,0])")), "data_offsets"));
  CHECK(contains(header_error(one(R"("dtype":"F32","shape":[-2],"data_offsets":[0,8])")), "shape holds -2"));
  CHECK(
      contains(header_error(one(R"("dtype":"F32","shape":[2.0],"data_offsets":[0,8])")), "shape holds 2.0"));
  CHECK(contains(header_error(one(R"("dtype":"F32","shape":[9223372036854775807,4],"data_offsets":[0,8])")),
                 "does not fit 64 bits"));
  CHECK(contains(
      header_error(one(R"("dtype":"F32","shape":[4611686018427387904,4,2],"data_offsets":[0,0])"), 0),
      "does not fit 64 bits"));
  CHECK(contains(header_error(one(R"("dtype":"F33","shape":[2],"data_offsets":[0,8])")),
                 "unknown dtype 'F33'"));
  CHECK(
      contains(header_error(one(R"("dtype":4,"shape":[2],"data_offsets":[0,8])")), "dtype is not a string"));
  CHECK(contains(header_error(one(R"("dtype":"F32","shape":[2],"data_offsets":[0])")), "not a pair"));
  CHECK(contains(header_error(one(R"("dtype":"F32","shape":[2])")), "dtype, shape and data_offsets"));
  CHECK(contains(header_error(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                              R"("w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}})"),
                 "'w' appears twice"));
  CHECK(contains(header_error(R"({"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},)"
                              R"("w":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}})"),
                 "overlap"));
  CHECK(contains(header_error(one(R"("dtype":"F32","shape":[1],"data_offsets":[4,8])")), "gap"));
  CHECK(contains(header_error(one(R"("dtype":"F32","shape":[1],"data_offsets":[0,4])")), "8 bytes of data"));
  CHECK(contains(header_error(R"({"__metadata__":{"a":1}})", 0), "not a string"));
  CHECK(contains(header_error("[]"), "does not start with"));
  CHECK(contains(header_error("{\"w\":"), "not valid JSON"));
  CHECK(contains(header_error("{\"w\":" + std::string(100'000, '[')), "nested deeper than 3"));
  CHECK(contains(header_error("{\"a\":[" + std::string(100'000, ' ').replace(0, 1, "1") + "]}"),
                 "dtype, shape"));

  const ScratchFolder folder;
  CHECK(contains(open_error(folder, ""), "too short"));
  CHECK(contains(open_error(folder, std::string(8, '\0')), "too short"));
  CHECK(contains(open_error(folder, std::string(9, '\0')), "does not start with"));
  CHECK(contains(open_error(folder, std::string("\x40\0\0\0\0\0\0\0{}", 10)),
                 "ends beyond the file's 10 bytes"));
  CHECK(contains(open_error(folder, std::string(10, '\xff')), "at most 100000000"));
  CHECK(contains(error_of([&] { SafetensorsFile::open(folder / "missing"); }), "cannot open"));
  CHECK(contains(error_of([&] { SafetensorsFile::open(folder / "."); }), "not a regular file"));
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  CHECK(contains(error_of([&] { SafetensorsFile::open(folder / "pipe"); }), "not a regular file"));
}

TEST_CASE("safetensors: truncation at any byte and any bit flip gives an error or a consistent file") {
  const ScratchFolder folder;
  const std::vector<float> floats = {1, 2, 3, 4};
  write_safetensors(
      folder / "f", {{"net", "wrn"}},
      {{"a", entry_of("F32", {2}, std::vector<float>{5, 6})}, {"b", entry_of("F32", {2, 2}, floats)}});
  const std::string good = read_text_file(folder / "f");
  for (size_t size = 0; size < good.size(); ++size) CHECK(open_error(folder, good.substr(0, size)) != "");
  const size_t header_end = good.size() - 24;
  for (size_t bit = 0; bit < 8 * header_end; ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << (bit % 8)));
    test::write_quickly(folder / "f", bad);
    try {
      const SafetensorsFile file = SafetensorsFile::open(folder / "f");
      for (const auto& [name, entry] : file.entries()) {
        CHECK(entry.bytes.data() >= file.bytes().data());
        CHECK(entry.bytes.data() + entry.bytes.size() <= file.bytes().data() + file.bytes().size());
        if (safetensors_element_size(entry.dtype) > 1 && entry.dtype[0] == 'F') file.read_f32(name);
      }
    } catch (const Error&) {
    }
  }
}

TEST_CASE("safetensors: the writer refuses what its reader would, and leaves nothing behind") {
  const ScratchFolder folder;
  const std::vector<float> floats = {1, 2};
  const auto write = [&](const std::string& name, SafetensorsEntry entry) {
    return error_of([&] { write_safetensors(folder / "f", {}, {{name, std::move(entry)}}); });
  };
  CHECK(contains(write("w", entry_of("F32", {3}, floats)), "takes 12 bytes, found 8"));
  CHECK(contains(write("w", entry_of("F32", {-2}, floats)), "negative extent"));
  CHECK(contains(write("w", entry_of("Q", {2}, floats)), "unknown dtype"));
  CHECK(contains(write("__metadata__", entry_of("F32", {2}, floats)), "not a name"));
  CHECK(contains(write("\xff", entry_of("F32", {2}, floats)), "not UTF-8"));
  CHECK_FALSE(std::filesystem::exists(folder / "f"));
}
