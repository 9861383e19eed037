// Every derivation of docs/formats.md against values from an independent implementation, and the primitives
// under them. A change here makes every published claim unreadable.
#include <doctest/doctest.h>

#include <cstring>

#include "tests/watermark_ownership_support.h"
#include "watermark/crypto.h"

using namespace dw;
using test::contains;
using test::error_of;
using test::fixed_key;

TEST_CASE("ownership: derivations are those of the format page") {
  const OwnerKey key = fixed_key();
  CHECK(to_hex(key.statement.public_key) ==
        "29acbae141bccaf0b22e1a94d34d0bc7361e526d0bfe12c89794bc9322966dd7");
  CHECK(to_hex(commitment_of(key.master, key.statement)) ==
        "802ac80b4474bbe08fc5ce47a2fd9a53a9eaaa09eb4ec89e460305e23ccdb28b");

  std::array<uint8_t, 32> expected;
  REQUIRE(from_hex("0dec38f0d8423462f879030e5165a29765e054f672fda4b427c7d5220092eef7", expected));
  const std::vector<int8_t> payload = payload_of(key.master, key.statement);
  REQUIRE(payload.size() == 256);
  for (size_t j = 0; j < 256; ++j) CHECK(payload[j] == ((expected[j / 8] >> (j % 8) & 1) != 0 ? 1 : -1));

  std::vector<uint32_t> words(1000);
  const std::vector<int64_t> shape = {16, 16, 3, 3};
  Carrier(key.master, 0, shape).words(0, words);
  CHECK(words[0] == 0x21dd9bb3);
  CHECK(words[1] == 0x005a5590);
  CHECK(words[2] == 0x6e747d6b);
  CHECK(words[999] == 0xf4c540c1);
  const std::vector<int64_t> other_shape = {32, 16, 3, 3};
  Carrier(key.master, 1, other_shape).words(0, std::span(words).first(4));
  CHECK(words[0] == 0x16ccfa29);
  CHECK(words[3] == 0x591cb252);

  Claim claim = make_claim(key);
  CHECK(to_hex(claim.signature) ==
        "f9256204244595701c0fd566c7b0265df47d2a4d910b75581b66a7f674af023c"
        "42d2c1ecd266db6c70fae4a3550843ee9e5c9b07453948fe274dcc6676e06f04");
  REQUIRE(add_mark(claim, key, test::small_mark()));
  CHECK(to_hex(claim.marks[0].signature) ==
        "43c88e24348d94f9f475a6c5bb6698fa0c8b5856eeeb9ccae52332a0bb2159de"
        "ffe34a9055df9d3d138a2bcc7491135c225cbda1ffea0ea648a5199cfc1bb509");
  CHECK(to_hex(null_master(7, 3).bytes()) ==
        "5fcdfea6cb23ee0b241587b0e6369b605cf647ac53eb492507f8fd3ed384a011");
}

TEST_CASE("ownership: published test vectors of the primitives") {
  // BLAKE2b-256 of nothing.
  CHECK(hex_digest({}) == "0e5751c026e543b2e8ab2eb06099daa1d1e5df47778f7787faab45cdf12fe3a8");
  // RFC 8439, appendix A.1, test vectors 1 and 2: key zero, nonce zero, blocks 0 and 1.
  std::array<uint8_t, 128> stream;
  KeyStream(Digest{}).read(0, stream);
  CHECK(to_hex(std::span(stream).first(16)) == "76b8e0ada0f13d90405d6ae55386bd28");
  CHECK(to_hex(std::span(stream).subspan(64, 16)) == "9f07e7be5551387a98ba977c732d080d");
  // RFC 8032, section 7.1, test 1.
  Secret seed;
  REQUIRE(from_hex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60", seed.bytes()));
  const PublicKey key = public_key_of(seed);
  CHECK(to_hex(key) == "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a");
  const Signature signature = sign(seed, {});
  CHECK(to_hex(signature).substr(0, 32) == "e5564300c360ac729086e2cc806e828a");
  CHECK(signature_is_valid(signature, {}, key));
  const std::array<uint8_t, 1> other = {0};
  CHECK_FALSE(signature_is_valid(signature, other, key));
}

TEST_CASE("ownership: a key stream can be read from any offset, to its end and not beyond") {
  const KeyStream stream(Digest{1, 2, 3});
  std::vector<uint8_t> whole(1000);
  stream.read(0, whole);
  for (size_t offset = 0; offset < 200; offset += 7)
    for (const size_t size : {0, 1, 5, 63, 64, 65, 200}) {
      std::vector<uint8_t> part(size);
      stream.read(offset, part);
      CHECK(std::equal(part.begin(), part.end(), whole.begin() + static_cast<ptrdiff_t>(offset)));
    }
  std::vector<uint8_t> last(10);
  stream.read(KeyStream::length - 10, last);
  CHECK(contains(error_of([&] { stream.read(KeyStream::length - 9, last); }), "key stream"));
  CHECK(contains(error_of([&] { stream.read(~uint64_t{0}, last); }), "key stream"));
  std::vector<uint32_t> words(2);
  const std::vector<int64_t> shape = {1};
  CHECK(contains(error_of([&] { Carrier({}, 0, shape).words(Carrier::length - 1, words); }), "carrier"));
}

TEST_CASE("ownership: a carrier word's bit is uniform and its sign independent") {
  CHECK(sign_of_word(0x80000000U) == -1);
  CHECK(sign_of_word(0x7fffffffU) == 1);
  CHECK(bit_of_word(0, 256) == 0);
  CHECK(bit_of_word(0xffffffffU, 256) == 255);
  CHECK(bit_of_word(0x7fffffffU, 32767) == 32766);
  CHECK(bit_of_word(0x40000000U, 100) == 50);
  CHECK(packed_word(0xffffffffU, 256) == 0x80ff);
  CHECK(packed_word(0x7fffffffU, 32767) == 32766);

  std::vector<uint32_t> words(1 << 20);
  const std::vector<int64_t> shape = {1 << 20};
  Carrier(fixed_key().master, 0, shape).words(0, words);
  std::vector<double> count(64);
  double sum = 0;
  for (const uint32_t word : words) {
    count[bit_of_word(word, 64)] += sign_of_word(word) > 0;
    sum += sign_of_word(word);
  }
  CHECK(std::fabs(sum) < 5 * 1024);
  int different = 0;
  for (int exponent = 0; exponent < 15; ++exponent)
    for (const uint32_t word : std::span(words).first(1 << 16))
      different += bit_of_word_by_shift(word, exponent) != bit_of_word(word, 1U << exponent);
  CHECK(different == 0);
  double chi_square = 0;
  for (const double c : count) chi_square += (c - 8192) * (c - 8192) / 8192;
  CHECK(chi_square < 130);  // 64 cells, deviation about 11
  CHECK(chi_square > 25);
}

TEST_CASE("ownership: hexadecimal is lower case and exactly as long as asked") {
  std::array<uint8_t, 2> out{};
  CHECK(from_hex("0aff", out));
  CHECK(out == std::array<uint8_t, 2>{0x0a, 0xff});
  for (const char* bad : {"0AFF", "0af", "0aff0", "0afg", "", "0x0a"}) CHECK_FALSE(from_hex(bad, out));
}
