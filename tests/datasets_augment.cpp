// Augmentation against a slow reference, and what it may depend on.
#include <cmath>
#include <numeric>
#include <set>

#include "datasets/augment.h"
#include "kernels/philox.h"
#include "tests/datasets_support.h"

namespace dw::datasets_test {
namespace {

constexpr ChannelStatistics statistics{{0.5F, 0.4F, 0.3F}, {0.25F, 0.2F, 0.3F}};

Tensor indices_tensor(const std::vector<int64_t>& indices, Device device = cpu) {
  return Tensor::from(indices, {static_cast<int64_t>(indices.size())}, device);
}

struct Case {
  int64_t count = 6, height = 9, width = 21, channels = 3;
  std::vector<int64_t> indices{0, 1, 2, 3, 1000, 49999};
  int64_t epoch = 2;
  AugmentOptions options{Augmentation::standard, statistics, 77};
  DType dtype = DType::f32;
};

std::vector<uint8_t> pixels_of(const Case& c) {
  std::vector<uint8_t> pixels;
  for (const int64_t index : c.indices) {
    const auto image = pattern(c.height, c.width, c.channels, static_cast<int>(index % 97));
    pixels.insert(pixels.end(), image.begin(), image.end());
  }
  return pixels;
}

std::vector<double> run(const Case& c, Device device = cpu) {
  const Tensor pixels = Tensor::from(pixels_of(c), {c.count, c.height, c.width, c.channels}, device);
  const Tensor out =
      Tensor::empty({c.count, c.channels, c.height, c.width}, c.dtype, device, Layout::channels_last);
  augment(pixels, indices_tensor(c.indices, device), Tensor::from(std::vector<int64_t>{c.epoch}, {1}, device),
          c.options, out);
  return out.to_vector<double>();
}

/// The definition: pad by reflection, crop, flip, normalise, one pixel at a time, in NCHW order.
std::vector<double> reference(const Case& c) {
  const auto pixels = pixels_of(c);
  const auto reflect = [](int64_t i, int64_t n) { return i < 0 ? -i : i >= n ? 2 * n - 2 - i : i; };
  std::vector<double> out;
  for (int64_t n = 0; n < c.count; ++n) {
    const auto words = philox({c.options.seed, 0x61756720, static_cast<uint32_t>(c.epoch)},
                              static_cast<uint64_t>(c.indices[static_cast<size_t>(n)]));
    const bool crop = c.options.augmentation != Augmentation::none;
    const bool flip = c.options.augmentation == Augmentation::standard && words.word[2] >= 0x80000000U;
    const int64_t down = crop ? static_cast<int64_t>(words.word[0] * uint64_t{9} >> 32) - 4 : 0;
    const int64_t right = crop ? static_cast<int64_t>(words.word[1] * uint64_t{9} >> 32) - 4 : 0;
    for (int64_t channel = 0; channel < c.channels; ++channel)
      for (int64_t y = 0; y < c.height; ++y)
        for (int64_t x = 0; x < c.width; ++x) {
          const int64_t from_y = reflect(y + down, c.height);
          const int64_t from_x = reflect((flip ? c.width - 1 - x : x) + right, c.width);
          const auto at =
              static_cast<size_t>(((n * c.height + from_y) * c.width + from_x) * c.channels + channel);
          const auto k = static_cast<size_t>(channel);
          out.push_back((pixels[at] / 255.0 - double{statistics.mean[k]}) / double{statistics.deviation[k]});
        }
  }
  return out;
}

double largest_difference(const std::vector<double>& a, const std::vector<double>& b) {
  REQUIRE(a.size() == b.size());
  double most = 0;
  for (size_t i = 0; i < a.size(); ++i) most = std::max(most, std::abs(a[i] - b[i]));
  return most;
}

TEST_CASE("datasets: augmentation equals its definition, for every kind, shape and dtype") {
  for (const auto kind : {Augmentation::none, Augmentation::crop, Augmentation::standard})
    for (const int64_t channels : {1, 3})
      for (const int64_t width : {5, 15, 16, 21, 32, 50}) {
        Case c;
        c.options.augmentation = kind;
        c.channels = channels;
        c.width = width;
        CAPTURE(channels);
        CAPTURE(width);
        const auto expected = reference(c);
        CHECK(largest_difference(run(c), expected) < 1e-6);
        c.dtype = DType::f64;
        CHECK(largest_difference(run(c), expected) < 1e-6);
        c.dtype = DType::bf16;
        CHECK(largest_difference(run(c), expected) < 0.016);
      }
}

TEST_CASE("datasets: augmentation on the GPU equals that on the CPU") {
  if (cuda_device_count() == 0) {
    MESSAGE("skipped: no GPU");
    return;
  }
  for (const DType dtype : {DType::f32, DType::bf16}) {
    Case c;
    c.dtype = dtype;
    CHECK(largest_difference(run(c), run(c, {DeviceType::cuda, 0})) < (dtype == DType::f32 ? 1e-6 : 0.016));
  }
}

TEST_CASE("datasets: a picture's augmentation depends on seed, epoch and sample only") {
  Case together;
  const auto all = run(together);
  const size_t values = all.size() / 6;
  for (size_t i = 0; i < 6; ++i) {
    Case alone = together;
    alone.count = 1;
    alone.indices = {together.indices[i]};
    CHECK(run(alone) == std::vector(all.begin() + static_cast<std::ptrdiff_t>(i * values),
                                    all.begin() + static_cast<std::ptrdiff_t>((i + 1) * values)));
  }
  Case other = together;
  other.epoch = 3;
  CHECK(run(other) != all);
  other = together;
  other.options.seed = 78;
  CHECK(run(other) != all);
}

TEST_CASE("datasets: augmentation is the same for every thread count") {
  Case c;
  c.count = 200;
  c.indices.resize(200);
  std::iota(c.indices.begin(), c.indices.end(), 5);
  c.height = c.width = 32;
  set_thread_count(1);
  const auto one = run(c);
  set_thread_count(3);
  const auto three = run(c);
  set_thread_count(0);
  CHECK(one == three);
}

TEST_CASE("datasets: crops reach all 81 positions evenly and half the pictures are flipped") {
  constexpr int64_t side = 11, count = 8100, area = side * side;
  std::vector<int64_t> indices(count);
  std::iota(indices.begin(), indices.end(), 0);
  std::vector<uint8_t> pixels;
  for (int64_t n = 0; n < count; ++n)
    for (uint8_t i = 0; i < area; ++i) pixels.push_back(i);
  const Tensor out = Tensor::empty({count, 1, side, side}, DType::f32, cpu, Layout::channels_last);
  augment(Tensor::from(pixels, {count, side, side, 1}), indices_tensor(indices),
          Tensor::zeros({1}, DType::i64), {Augmentation::standard, {{0, 0, 0}, {1, 1, 1}}, 77}, out);
  // No shift reflects the middle pixel or its neighbours: it tells the shift, its right neighbour the flip.
  std::vector<int> times(area);
  int flips = 0;
  const auto values = out.to_vector<float>();
  for (size_t n = 0; n < count; ++n) {
    const auto at = [&](size_t i) { return std::lround(values[n * area + i] * 255); };
    ++times[static_cast<size_t>(at(area / 2))];
    flips += at(area / 2 + 1) < at(area / 2);
  }
  // A shift of -4 to 4 in each direction; expected 100 each with standard deviation 10.
  for (size_t y = 1; y <= 9; ++y)
    for (size_t x = 1; x <= 9; ++x) CHECK(std::abs(times[y * side + x] - 100) < 50);
  CHECK(std::abs(flips - count / 2) < 225);
}

TEST_CASE("datasets: augmentation names what does not fit") {
  const Tensor pixels = Tensor::zeros({2, 4, 8, 3}, DType::u8), indices = indices_tensor({0, 1});
  const Tensor epoch = Tensor::zeros({1}, DType::i64);
  const Tensor out = Tensor::empty({2, 3, 4, 8}, DType::f32, cpu, Layout::channels_last);
  const AugmentOptions options{Augmentation::none, statistics, 0};
  CHECK(error_of([&] { augment(pixels, indices, epoch, options, out); }) == "");
  CHECK(contains(error_of([&] {
                   augment(pixels, indices, epoch, {Augmentation::crop, statistics, 0}, out);
                 }),
                 "too small to crop"));
  CHECK(
      contains(error_of([&] { augment(pixels, indices_tensor({0}), epoch, options, out); }), "indices [2]"));
  CHECK(contains(error_of([&] {
                   augment(pixels, indices, epoch, options, Tensor::zeros({2, 3, 4, 8}));
                 }),
                 "channels-last"));
  CHECK(contains(error_of([&] { augment(out, indices, epoch, options, out); }), "u8 pixels"));
  CHECK_THROWS_AS(parse_augmentation("mirror"), UsageError);
  CHECK(parse_augmentation("crop") == Augmentation::crop);
}

}  // namespace
}  // namespace dw::datasets_test
