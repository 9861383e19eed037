// A convolution with the pooling behind it, which inference takes a few images at a time.
#include <doctest/doctest.h>

#include <cmath>

#include "core/ops.h"
#include "core/random.h"

namespace dw {
namespace {

struct Problem {
  int64_t images, channels, size, filters;
  ConvOptions convolution;
  PoolOptions pooling;
};

// In rows; two of more images than are taken at once, the last few fewer; one of larger images than that; one
// of odd size in rows.
const std::vector<Problem> problems = {
    {250, 1, 28, 6, {.padding = 2}, {}},
    {260, 3, 41, 7, {.stride = 2}, {.kernel = 3, .stride = 2, .padding = 1}},
    {250, 1, 28, 8, {.padding = 2}, {}},
    {3, 1, 300, 6, {.padding = 2}, {}},
    {2, 1, 75, 5, {}, {}}};

TEST_CASE("conv2d_max_pool2d gives the bits of max_pool2d behind conv2d") {
  for (const Problem& p : problems) {
    const Tensor images = random_normal({p.images, p.channels, p.size, p.size}, {1, 1, 0}, 0, 1);
    const Tensor filters = random_normal({p.filters, p.channels, 5, 5}, {2, 1, 0}, 0, 1);
    const Tensor bias = random_normal({p.filters}, {3, 1, 0}, 0, 1);
    for (const Tensor& added : {bias, Tensor()})
      for (const bool with_relu : {false, true}) {
        const Tensor pooled = max_pool2d(conv2d(images, filters, added, p.convolution), p.pooling);
        const Tensor wanted = with_relu ? relu(pooled) : pooled;
        const Tensor found = conv2d_max_pool2d(images, filters, added, p.convolution, p.pooling, with_relu);
        CHECK(found.shape() == wanted.shape());
        CHECK(found.to_vector<float>() == wanted.to_vector<float>());
      }
  }
}

TEST_CASE("conv2d_max_pool2d of several channels in rows equals that in f64") {
  const Tensor images = random_normal({3, 3, 17, 22}, {1, 1, 0}, 0, 1);
  const Tensor filters = random_normal({4, 3, 3, 3}, {2, 1, 0}, 0, 1);
  const Tensor bias = random_normal({4}, {3, 1, 0}, 0, 1);
  const ConvOptions options{.padding = 1};
  const auto found = conv2d_max_pool2d(images, filters, bias, options, {}).to_vector<float>();
  const auto wanted =
      max_pool2d(conv2d(images.to(DType::f64), filters.to(DType::f64), bias.to(DType::f64), options), {})
          .to_vector<double>();
  REQUIRE(found.size() == wanted.size());
  for (size_t i = 0; i < wanted.size(); ++i)
    REQUIRE(static_cast<double>(found[i]) == doctest::Approx(wanted[i]).epsilon(1e-5));
}

TEST_CASE("conv2d_max_pool2d keeps a NaN of its input") {
  const Tensor images = Tensor::zeros({1, 1, 12, 12});
  images.slice(2, 5, 6).slice(3, 5, 6).fill(std::nan(""));
  const Tensor out = conv2d_max_pool2d(images, Tensor::full({6, 1, 5, 5}, 1), Tensor::zeros({6}), {}, {});
  CHECK(std::isnan(out.to_vector<float>()[0]));
}

TEST_CASE("conv2d_max_pool2d refuses what does not fit") {
  const Tensor images = Tensor::zeros({2, 1, 8, 8}), filters = Tensor::zeros({6, 1, 5, 5});
  CHECK_THROWS_WITH_AS(conv2d_max_pool2d(images, filters, Tensor::zeros({5}), {}, {}),
                       doctest::Contains("expects a bias of shape [6], found [5]"), Error);
  CHECK_THROWS_WITH_AS(conv2d_max_pool2d(images, filters, {}, {}, {.kernel = 5, .stride = 5}),
                       doctest::Contains("does not fit input [2, 6, 4, 4]"), Error);
  CHECK_THROWS_AS(conv2d_max_pool2d(images, Tensor::zeros({0, 1, 5, 5}), {}, {}, {}), Error);
  CHECK_THROWS_WITH_AS(conv2d_max_pool2d(Tensor::zeros({0, 1, 8, 8}), filters, {}, {}, {}),
                       doctest::Contains("expects images and channels"), Error);
}

}  // namespace
}  // namespace dw
