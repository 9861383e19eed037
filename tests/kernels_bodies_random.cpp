// Philox against its published vectors, and the fills drawn from it.
#include "tests/kernels_bodies_support.h"

namespace dw {
namespace {

TEST_CASE("philox4x32-10 gives the known answers of Random123") {
  const auto check = [](uint64_t element, uint32_t stream, uint32_t step, uint64_t seed,
                        const std::array<uint32_t, 4>& expected) {
    const PhiloxWords words = philox({seed, stream, step}, element);
    for (size_t k = 0; k < 4; ++k) CHECK(words.word[k] == expected[k]);
  };
  check(0, 0, 0, 0, {0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  check(~0ULL, ~0U, ~0U, ~0ULL, {0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  check(0x85a308d3243f6a88ULL, 0x13198a2e, 0x03707344, 0x299f31d0a4093822ULL,
        {0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("bodies: uniform and bernoulli draw word i mod 4 of element i / 4") {
  for_each_device([](Device device) {
    const PhiloxKey key{123, 4, 5};
    for (const int64_t count : {0, 1, 4, 7, 10001}) {
      TestArray draws(device, DType::f32, {count}, std::vector<double>(static_cast<size_t>(count)));
      TestArray coins(device, DType::f32, {count}, std::vector<double>(static_cast<size_t>(count)));
      kernels(device).uniform(current_stream(device), key, draws.view(), 0, 1);
      kernels(device).bernoulli(current_stream(device), key, coins.view(), 0.3, 2);
      const auto found = draws.values(), coin = coins.values();
      for (size_t i = 0; i < found.size(); ++i) {
        const float expected = uniform_from(philox(key, i / 4).word[i % 4]);
        REQUIRE(found[i] == static_cast<double>(expected));
        REQUIRE(coin[i] == (static_cast<double>(expected) < 0.3 ? 2 : 0));
      }
    }
    TestArray coins(device, DType::f32, {8}, std::vector<double>(8));
    const auto fifth = static_cast<double>(uniform_from(philox(key, 1).word[1]));
    kernels(device).bernoulli(current_stream(device), key, coins.view(), fifth, 1);
    CHECK(coins.values()[5] == 0);  // its draw equals the probability, and is not below it
    kernels(device).bernoulli(current_stream(device), key, coins.view(), 1, 1);
    CHECK(coins.values() == std::vector<double>(8, 1.0));
    CHECK_THROWS_AS(kernels(device).bernoulli(current_stream(device), key, coins.view(), NAN, 1), Error);
    TestArray range(device, DType::f64, {1000}, std::vector<double>(1000));
    kernels(device).uniform(current_stream(device), key, range.view(), -3, 5);
    for (size_t i = 0; i < 1000; ++i)
      REQUIRE(range.values()[i] ==
              doctest::Approx(-3 + 8 * static_cast<double>(uniform_from(philox(key, i / 4).word[i % 4]))));
  });
}

TEST_CASE("bodies: normals have the moments and the tail of a normal distribution") {
  for_each_device([](Device device) {
    for (const DType dtype : {DType::f32, DType::f64}) {
      constexpr size_t count = 400001;
      TestArray out(device, dtype, {count}, std::vector<double>(count));
      kernels(device).normal(current_stream(device), PhiloxKey{7, 1, 2}, out.view(), 2, 3);
      double sum = 0, square = 0, cube = 0, fourth = 0, beyond = 0;
      for (const double x : out.values()) {
        REQUIRE(std::isfinite(x));
        const double z = (x - 2) / 3;
        sum += z;
        square += z * z;
        cube += z * z * z;
        fourth += z * z * z * z;
        beyond += std::abs(z) > 1.959964 ? 1 : 0;
      }
      // Five standard errors each.
      CHECK(std::abs(sum / count) < 5 / std::sqrt(count));
      CHECK(std::abs(square / count - 1) < 5 * std::sqrt(2.0 / count));
      CHECK(std::abs(cube / count) < 5 * std::sqrt(15.0 / count));
      CHECK(std::abs(fourth / count - 3) < 5 * std::sqrt(96.0 / count));
      CHECK(std::abs(beyond / count - 0.05) < 5 * std::sqrt(0.05 * 0.95 / count));
    }
  });
}

TEST_CASE("bodies: draws depend on seed, stream and step, not on threads") {
  for_each_device([](Device device) {
    const auto draw = [&](PhiloxKey key) {
      TestArray out(device, DType::f32, {50001}, std::vector<double>(50001));
      kernels(device).normal(current_stream(device), key, out.view(), 0, 1);
      return out.values();
    };
    check_thread_invariance([&] { return draw({1, 2, 3}); });
    CHECK(draw({1, 2, 3}) != draw({2, 2, 3}));
    CHECK(draw({1, 2, 3}) != draw({1, 3, 3}));
    CHECK(draw({1, 2, 3}) != draw({1, 2, 4}));
  });
}

}  // namespace
}  // namespace dw
