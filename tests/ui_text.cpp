// Text helpers, tables and PNG encoding: the formatting people see.
#include <doctest/doctest.h>
#include <zlib.h>

#include <limits>
#include <string>
#include <vector>

#include "experiments/png.h"
#include "experiments/table.h"
#include "experiments/text.h"
#include "kernels/error.h"

using namespace dw;

TEST_CASE("ui text: display width counts columns, not bytes") {
  CHECK(display_width("") == 0);
  CHECK(display_width("abc") == 3);
  CHECK(display_width("é–█") == 3);
  CHECK(display_width("e\u0301") == 1);
  CHECK(display_width("猫") == 2);
  CHECK(display_width("\xFF\xC3") == 2);          // not UTF-8: one column a byte
  CHECK(display_width("\xC0\x80") == 2);          // overlong
  CHECK(display_width("\xED\xA0\x80") == 3);      // a surrogate
  CHECK(display_width("\xF4\x90\x80\x80") == 4);  // above U+10FFFF
}

TEST_CASE("ui text: fitting never splits a character") {
  CHECK(fit_width("abcdef", 6) == "abcdef");
  CHECK(fit_width("abcdef", 4) == "abc…");
  CHECK(fit_width("abcdef", 4, false) == "abc.");
  CHECK(fit_width("猫猫猫", 4) == "猫…");
  CHECK(fit_width("abc", 0).empty());
}

TEST_CASE("ui text: durations, counts and rates") {
  CHECK(format_count(0) == "0");
  CHECK(format_count(999) == "999");
  CHECK(format_count(1000) == "1,000");
  CHECK(format_count(18446744073709551615ULL) == "18,446,744,073,709,551,615");
  CHECK(format_duration(0) == "0.0 s");
  CHECK(format_duration(9.94) == "9.9 s");
  CHECK(format_duration(9.96) == "0:10");
  CHECK(format_duration(59.6) == "1:00");
  CHECK(format_duration(11229) == "3:07:09");
  CHECK(format_duration(2 * 86400 + 3 * 3600 + 4 * 60) == "2 d 03:04");
  CHECK(format_duration(-1) == "?");
  CHECK(format_duration(std::numeric_limits<double>::infinity()) == "?");
  CHECK(format_duration(1e300) == "?");
  CHECK(format_rate(1240.4, "images") == "1,240 images/s");
  CHECK(format_rate(12.34, "images") == "12.3 images/s");
  CHECK(format_rate(0.25, "steps") == "0.25 steps/s");
  CHECK(format_rate(0.05, "steps") == "3.0 steps/min");
  CHECK(format_rate(0, "steps") == "? steps/s");
  CHECK(format_rate(std::numeric_limits<double>::quiet_NaN(), "steps") == "? steps/s");
}

TEST_CASE("ui text: what counts as a number") {
  for (const char* text : {"1", "-1.5", "−1.5", "12,345", "98.1 %", "98.1%", "3e-4", "1.5E+10", "0.5 s", "—",
                           "< 0.01", "0:42", "×1.5", "2 MiB"})
    CHECK_MESSAGE(looks_numeric(text), text);
  for (const char* text : {"", "a1", "WRN-10-1", "1 of 2 networks", "e5", "-", "3 bits and more"})
    CHECK_MESSAGE(looks_numeric(text) == (std::string(text) == "-"), text);
}

TEST_CASE("ui text: markup is escaped, also where the bytes are hostile") {
  CHECK(escape_markup("<a href=\"x\">'&") == "&lt;a href=&quot;x&quot;&gt;&#39;&amp;");
  CHECK(escape_markup("é猫\n") == "é猫\n");
  CHECK(escape_markup("a\x01\xFFz") == "a\uFFFD\uFFFDz");
}

TEST_CASE("ui table: columns align by display width, numbers to the right") {
  Table table({"network", "accuracy", "note"});
  table.add_row({"WRN-10-1", "67.6 %", "—"});
  table.add_row({"Léon 猫", "9 %", "über"});
  CHECK(table.is_numeric(1));
  CHECK_FALSE(table.is_numeric(2));
  CHECK(table.text(false) ==
        "network   accuracy  note\n"
        "--------  --------  ----\n"
        "WRN-10-1    67.6 %  —\n"
        "Léon 猫        9 %  über\n");
  CHECK_THROWS_AS(table.add_row({"too few"}), Error);
  CHECK_THROWS_AS(Table({}), Error);
}

TEST_CASE("ui table: Markdown escapes its own separators") {
  Table table({"a|b", "n"});
  table.add_row({"x\ny", "1"});
  CHECK(table.markdown() == "| a\\|b | n |\n| --- | ---: |\n| x y | 1 |\n");
}

TEST_CASE("ui png: pixels come back from the file") {
  const std::vector<uint8_t> pixels{255, 0, 0, 0, 255, 0, 0, 0, 255, 9, 8, 7, 6, 5, 4, 3, 2, 1};
  const std::string png = encode_png(pixels, 3, 2, 3);
  CHECK(png.substr(0, 8) == "\x89PNG\r\n\x1a\n");
  CHECK(png.substr(8, 8) == std::string("\0\0\0\rIHDR", 8));
  CHECK(png.substr(16, 8) == std::string("\0\0\0\3\0\0\0\2", 8));
  CHECK(png.substr(png.size() - 12) == std::string("\0\0\0\0IEND\xAE\x42\x60\x82", 12));

  const size_t data = png.find("IDAT") + 4;
  std::vector<uint8_t> raw(20);
  uLongf raw_size = raw.size();
  REQUIRE(uncompress(raw.data(), &raw_size, reinterpret_cast<const Bytef*>(png.data() + data),
                     png.size() - data - 16) == Z_OK);
  CHECK(raw == std::vector<uint8_t>{0, 255, 0, 0, 0, 255, 0, 0, 0, 255, 0, 9, 8, 7, 6, 5, 4, 3, 2, 1});

  CHECK_THROWS_AS(encode_png(pixels, 3, 3, 3), Error);
  CHECK_THROWS_AS(encode_png(pixels, 9, 1, 2), Error);
  CHECK_THROWS_AS(encode_png({}, 0, 0, 3), Error);
}

TEST_CASE("ui png: base64 of every padding") {
  CHECK(encode_base64("") == "");
  CHECK(encode_base64("f") == "Zg==");
  CHECK(encode_base64("fo") == "Zm8=");
  CHECK(encode_base64("foo") == "Zm9v");
  CHECK(encode_base64("foobar") == "Zm9vYmFy");
  CHECK(encode_base64("\xFF\xFE\xFD") == "//79");
}

TEST_CASE("superscripts keep the sign and every digit") {
  CHECK(superscript(-255) == "⁻²⁵⁵");
  CHECK(superscript(1234567890) == "¹²³⁴⁵⁶⁷⁸⁹⁰");
}
