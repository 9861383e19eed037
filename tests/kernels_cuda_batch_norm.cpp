// The bodies of CUDA's batch norm, run on the CPU through the block executor against a plain reference: their
// tiling, their reductions and their arithmetic. That they are launched rightly needs a GPU (tests/cuda).
#include <doctest/doctest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/cuda/batch_norm_body.h"

using namespace dw;
using namespace dw::cpu_backend;

namespace {

template <typename T>
std::vector<T> random_values(size_t count, double mean, double deviation, uint32_t seed) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal(mean, deviation);
  std::vector<T> values(count);
  for (T& value : values) value = T(static_cast<ParameterOf<T>>(normal(engine)));
  return values;
}

/// Everything one layer's step computes, with A the parameter type.
template <typename A>
struct Results {
  std::vector<A> mean, inverse_deviation, running_mean, running_variance, weight_gradient, bias_gradient;
  std::vector<double> out, in_gradient;
};

struct Problem {
  int64_t rows, channels;
  bool relu;
  double mean = 0, deviation = 1;
};

constexpr double epsilon = 1e-5, momentum = 0.1;

template <typename T, int width>
Results<ParameterOf<T>> run_bodies(const Problem& p, const std::vector<T>& in,
                                   const std::vector<ParameterOf<T>>& weight,
                                   const std::vector<ParameterOf<T>>& bias, std::vector<T> gradient) {
  using A = ParameterOf<T>;
  const auto channels = static_cast<size_t>(p.channels);
  const RowTiles tiles = row_tiles(p.rows, p.channels, width);
  Results<A> r;
  for (auto* values : {&r.mean, &r.inverse_deviation, &r.running_mean, &r.weight_gradient, &r.bias_gradient})
    values->assign(channels, 0);
  r.running_variance.assign(channels, 1);
  const auto launch = [](int64_t blocks, const auto& body) {
    for_each_block<typename std::decay_t<decltype(body)>::Shared>({}, blocks, body);
  };

  std::vector<Moments<A>> moments(static_cast<size_t>(tiles.chunks) * channels);
  std::vector<T> out(in.size());
  launch(tiles.blocks(), MomentsBody<T, width>{tiles, in.data(), moments.data()});
  launch(finish_blocks(p.channels),
         FinishMomentsBody<A>{tiles, moments.data(), A(epsilon), A(momentum), r.mean.data(),
                              r.inverse_deviation.data(), r.running_mean.data(), r.running_variance.data()});
  launch(tiles.blocks(),
         NormaliseBody<T, width>{tiles, in.data(), r.mean.data(), r.inverse_deviation.data(), nullptr,
                                 weight.data(), bias.data(), A(0), p.relu, out.data()});

  std::vector<SumPair<A>> sums(moments.size());
  const GradientInput<T, width> input{gradient.data(), in.data(), out.data(), r.mean.data(), p.relu};
  launch(tiles.blocks(), GradientSumsBody<T, width>{tiles, input, sums.data()});
  launch(finish_blocks(p.channels), FinishGradientBody<A>{tiles, sums.data(), r.inverse_deviation.data(),
                                                          r.weight_gradient.data(), r.bias_gradient.data()});
  launch(tiles.blocks(),
         InGradientBody<T, width>{tiles, input, r.inverse_deviation.data(), weight.data(),
                                  r.weight_gradient.data(), r.bias_gradient.data(), gradient.data()});

  for (const T value : out) r.out.push_back(double(value));
  for (const T value : gradient) r.in_gradient.push_back(double(value));
  return r;
}

/// The formulas of batch normalisation and of its gradient, one channel after the other, in double.
template <typename T>
Results<double> reference(const Problem& p, const std::vector<T>& in,
                          const std::vector<ParameterOf<T>>& weight, const std::vector<ParameterOf<T>>& bias,
                          const std::vector<T>& gradient, const std::vector<double>& rounded_out) {
  Results<double> r;
  r.out.resize(in.size());
  r.in_gradient.resize(in.size());
  const double rows = double(p.rows);
  for (int64_t c = 0; c < p.channels; ++c) {
    const auto at = [&](int64_t row) { return static_cast<size_t>(row * p.channels + c); };
    const double w = double(weight[size_t(c)]), b = double(bias[size_t(c)]);
    double mean = 0, square = 0;
    for (int64_t i = 0; i < p.rows; ++i) mean += double(in[at(i)]) / rows;
    for (int64_t i = 0; i < p.rows; ++i) square += std::pow(double(in[at(i)]) - mean, 2);
    const double inverse = 1 / std::sqrt(square / rows + epsilon);
    double sum = 0, product = 0;
    for (int64_t i = 0; i < p.rows; ++i) {
      const double normal = (double(in[at(i)]) - mean) * inverse, value = normal * w + b;
      r.out[at(i)] = p.relu ? std::max(value, 0.0) : value;
      const double g = p.relu && rounded_out[at(i)] <= 0 ? 0 : double(gradient[at(i)]);
      sum += g;
      product += g * normal;
    }
    for (int64_t i = 0; i < p.rows; ++i) {
      const double normal = (double(in[at(i)]) - mean) * inverse;
      const double g = p.relu && rounded_out[at(i)] <= 0 ? 0 : double(gradient[at(i)]);
      r.in_gradient[at(i)] = w * inverse * (g - sum / rows - normal * product / rows);
    }
    r.mean.push_back(mean);
    r.inverse_deviation.push_back(inverse);
    r.running_mean.push_back(momentum * mean);
    r.running_variance.push_back(1 - momentum + momentum * square / std::max(rows - 1, 1.0));
    r.weight_gradient.push_back(product);
    r.bias_gradient.push_back(sum);
  }
  return r;
}

/// The largest difference over the larger of 1 and the largest expected magnitude.
template <typename A>
double error_of(const std::vector<A>& found, const std::vector<double>& expected) {
  REQUIRE(found.size() == expected.size());
  double difference = 0, scale = 1;
  for (size_t i = 0; i < found.size(); ++i) {
    if (std::isnan(double(found[i]))) return INFINITY;
    difference = std::max(difference, std::abs(double(found[i]) - expected[i]));
    scale = std::max(scale, std::abs(expected[i]));
  }
  return difference / scale;
}

template <typename T, int width>
void check(const Problem& p, double tolerance, double data_tolerance) {
  CAPTURE(p.rows);
  CAPTURE(p.channels);
  CAPTURE(p.relu);
  CAPTURE(width);
  const auto count = static_cast<size_t>(p.rows * p.channels), channels = static_cast<size_t>(p.channels);
  using A = ParameterOf<T>;
  const auto in = random_values<T>(count, p.mean, p.deviation, 1);
  const auto gradient = random_values<T>(count, 0, 1, 2);
  const auto weight = random_values<A>(channels, 1, 0.3, 3), bias = random_values<A>(channels, 0, 0.5, 4);
  const auto found = run_bodies<T, width>(p, in, weight, bias, gradient);
  const auto expected = reference<T>(p, in, weight, bias, gradient, found.out);
  CHECK(error_of(found.mean, expected.mean) < tolerance);
  CHECK(error_of(found.inverse_deviation, expected.inverse_deviation) < tolerance);
  CHECK(error_of(found.running_mean, expected.running_mean) < tolerance);
  CHECK(error_of(found.running_variance, expected.running_variance) < tolerance);
  CHECK(error_of(found.out, expected.out) < data_tolerance);
  CHECK(error_of(found.weight_gradient, expected.weight_gradient) < tolerance);
  CHECK(error_of(found.bias_gradient, expected.bias_gradient) < tolerance);
  CHECK(error_of(found.in_gradient, expected.in_gradient) < data_tolerance);
}

}  // namespace

TEST_CASE("CUDA batch norm: every element belongs to exactly one lane") {
  for (const int width : {1, 4})
    for (const int64_t channels : {4, 12, 16, 20, 40, 64, 160, 320, 640, 1028, 2560})
      for (const int64_t rows : {1, 5, 63, 64, 1000, 3001}) {
        CAPTURE(width);
        CAPTURE(channels);
        CAPTURE(rows);
        const RowTiles tiles = row_tiles(rows, channels, width);
        REQUIRE(tiles.slots * tiles.tile_packs <= block_lanes);
        std::vector<int> visits(static_cast<size_t>(rows * channels));
        const auto visit = [&](const auto& place) {
          for (int64_t row = place.row; place.active && row < place.row_end; row += tiles.slots)
            for (int c = 0; c < width; ++c) ++visits[size_t(row * channels + place.channel + c)];
        };
        for (int64_t block = 0; block < tiles.blocks(); ++block)
          for (int64_t lane = 0; lane < block_lanes; ++lane)
            width == 1 ? visit(LanePlace<1>(tiles, block, lane)) : visit(LanePlace<4>(tiles, block, lane));
        CHECK(std::ranges::all_of(visits, [](int count) { return count == 1; }));
      }
}

TEST_CASE("CUDA batch norm: bodies equal the reference") {
  for (const bool relu : {false, true})
    for (const int64_t rows : {2, 3, 7, 257, 5000}) {
      // Two values that nearly coincide are divided by their distance.
      const double exact = 1e-12, single = rows < 7 ? 2e-4 : 2e-5;
      check<double, 2>({rows, 16, relu}, exact, exact);
      check<double, 1>({rows, 5, relu}, exact, exact);
      check<float, 4>({rows, 40, relu}, single, single);
      check<float, 4>({rows, 1028, relu}, single, single);
      check<float, 1>({rows, 3, relu}, single, single);
      check<bfloat16, 8>({rows, 24, relu}, single, 8e-3);
    }
}

TEST_CASE("CUDA batch norm: a mean far from zero keeps its variance") {
  check<float, 4>({4096, 8, false, 1000.0}, 2e-4, 2e-3);
  check<double, 2>({4096, 8, false, 1e6}, 1e-9, 1e-9);
}

TEST_CASE("CUDA batch norm: one row and a constant channel") {
  check<float, 4>({1, 8, true}, 2e-5, 2e-5);
  check<float, 4>({100, 8, false, 3.0, 0.0}, 2e-3, 2e-3);
}

TEST_CASE("CUDA batch norm: inference takes the variance as it is given") {
  const std::vector<float> in{1, 2, 3, 4}, mean{1, 1}, variance{4, 9}, weight{2, 3}, bias{0, -10};
  std::vector<float> out(4);
  const RowTiles tiles = row_tiles(2, 2, 1);
  for_each_block<NormaliseBody<float, 1>::Shared>(
      {}, tiles.blocks(),
      NormaliseBody<float, 1>{tiles, in.data(), mean.data(), nullptr, variance.data(), weight.data(),
                              bias.data(), 0.0F, true, out.data()});
  CHECK(out[0] == doctest::Approx(0));
  CHECK(out[1] == doctest::Approx(0));  // 3 · 1 / 3 − 10, cut off
  CHECK(out[2] == doctest::Approx(2));
  CHECK(out[3] == doctest::Approx(0));
}
