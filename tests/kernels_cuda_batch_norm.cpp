// The bodies of CUDA's batch norm, run on the CPU through the block executor against a plain reference: their
// tiling, their reductions and their arithmetic. That they are launched rightly needs a GPU (tests/cuda).
#include "kernels/cuda/batch_norm_body.h"
#include "tests/batch_norm_reference.h"

using namespace dw;
using namespace dw::cpu_backend;

namespace {

/// The launches of kernels/cuda/batch_norm.cu.
template <typename T, int width>
void run_bodies(BatchNormProblem<T>& p) {
  using A = ParameterOf<T>;
  const BatchNormForward f = p.forward();
  const BatchNormBackward g = p.backward();
  const RowTiles tiles = row_tiles(p.shape.rows, p.shape.channels, width);
  const int64_t finishing = finish_blocks(p.shape.channels);
  const auto partials = static_cast<size_t>(tiles.chunks * p.shape.channels);
  const auto launch = [](int64_t blocks, const auto& body) {
    for_each_block<typename std::decay_t<decltype(body)>::Shared>({}, blocks, body);
  };
  const auto data = [](const void* memory) { return static_cast<const T*>(memory); };
  const auto writable = [](void* memory) { return static_cast<T*>(memory); };

  std::vector<Moments<A>> moments(partials);
  with_flag(f.addend != nullptr, [&](auto adds) {
    const SummedInput<T, width, adds> summed{data(f.in), data(f.addend), writable(f.sum)};
    launch(tiles.blocks(), MomentsBody<T, width, adds>{tiles, summed, moments.data()});
  });
  launch(finishing,
         FinishMomentsBody<A>{tiles, moments.data(), A(p.shape.epsilon), A(p.shape.momentum), p.mean.data(),
                              p.inverse_deviation.data(), p.running_mean.data(), p.running_variance.data()});
  with_flag(f.residual != nullptr, [&](auto has_residual) {
    const SummedInput<T, width, false> normalised{f.addend ? data(f.sum) : data(f.in), nullptr, nullptr};
    launch(tiles.blocks(),
           NormaliseBody<T, width, false, has_residual>{
               tiles,
               normalised,
               {p.mean.data(), p.inverse_deviation.data(), nullptr, p.weight.data(), p.bias.data(), A(0)},
               data(f.residual),
               p.shape.relu,
               writable(f.out)});
  });

  std::vector<SumPair<A>> sums(partials);
  const bool by_output = g.residual_gradient != nullptr;
  const auto input = [&]<Gate by>(std::integral_constant<Gate, by>, const void* out_gradient) {
    return GradientInput<T, width, by>{
        data(out_gradient),         data(g.in),      data(g.out),  p.mean.data(),
        p.inverse_deviation.data(), p.weight.data(), p.bias.data()};
  };
  const Gate gate = by_output ? Gate::by_output : p.shape.relu ? Gate::by_input : Gate::open;
  with_gate(gate, [&](auto by) {
    launch(tiles.blocks(), GradientSumsBody<T, width, by>{tiles, input(by, g.out_gradient),
                                                          writable(g.residual_gradient), sums.data()});
  });
  launch(finishing, FinishGradientBody<A>{tiles, sums.data(), p.inverse_deviation.data(),
                                          p.weight_gradient.data(), p.bias_gradient.data()});
  with_gate(by_output ? Gate::open : gate, [&](auto by) {
    with_flag(g.in_gradient_so_far != nullptr, [&](auto adds) {
      launch(tiles.blocks(),
             InGradientBody<T, width, by, adds>{
                 tiles, input(by, by_output ? g.residual_gradient : g.out_gradient), p.weight_gradient.data(),
                 p.bias_gradient.data(), data(g.in_gradient_so_far), writable(g.in_gradient)});
    });
  });
}

template <typename T, int width>
void check(const BatchNormCase& what, double tolerance, double data_tolerance) {
  CAPTURE(width);
  BatchNormProblem<T> p(what);
  const BatchNormProblem<T> before = p;
  run_bodies<T, width>(p);
  check_batch_norm(p, before, tolerance, data_tolerance);
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
  for (const int64_t rows : {2, 3, 7, 257, 5000})
    for (size_t i = 0; i < 16; ++i) {
      const auto what = [&](int64_t channels) { return batch_norm_cases(rows, channels)[i]; };
      // Two values that nearly coincide are divided by their distance.
      const double exact = 1e-11, single = rows < 7 ? 1e-3 : 5e-5;
      check<double, 2>(what(16), exact, exact);
      check<double, 1>(what(5), exact, exact);
      check<float, 4>(what(40), single, single);
      check<float, 1>(what(3), single, single);
      check<bfloat16, 8>(what(24), 2 * single, 8e-3);
    }
  for (const BatchNormCase& what : batch_norm_cases(257, 1028)) check<float, 4>(what, 5e-5, 5e-5);
}

TEST_CASE("CUDA batch norm: a mean far from zero keeps its variance") {
  // Neighbouring floats lie 6e-5 apart there, which the saved mean cannot improve on.
  check<float, 4>({.rows = 4096, .channels = 8, .mean = 1000}, 4e-4, 2e-3);
  check<double, 2>({.rows = 4096, .channels = 8, .mean = 1e6}, 1e-9, 1e-9);
}

TEST_CASE("CUDA batch norm: one row and a constant channel") {
  check<float, 4>({.rows = 1, .channels = 8, .relu = true}, 2e-5, 2e-5);
  check<float, 4>({.rows = 100, .channels = 8, .mean = 3, .deviation = 0}, 2e-3, 2e-3);
}

TEST_CASE("CUDA batch norm: inference takes the variance as it is given") {
  const std::vector<float> in{1, 2, 3, 4}, mean{1, 1}, variance{4, 9}, weight{2, 3}, bias{0, -10};
  std::vector<float> out(4);
  const RowTiles tiles = row_tiles(2, 2, 1);
  const auto normalise = [&]<bool adds>(const SummedInput<float, 1, adds>& input) {
    using Body = NormaliseBody<float, 1, adds, false>;
    for_each_block<typename Body::Shared>(
        {}, tiles.blocks(),
        Body{tiles,
             input,
             {mean.data(), nullptr, variance.data(), weight.data(), bias.data(), 0.0F},
             nullptr,
             true,
             out.data()});
  };
  normalise(SummedInput<float, 1, false>{in.data(), nullptr, nullptr});
  CHECK(out[0] == doctest::Approx(0));
  CHECK(out[1] == doctest::Approx(0));  // 3 · 1 / 3 − 10, cut off
  CHECK(out[2] == doctest::Approx(2));
  CHECK(out[3] == doctest::Approx(0));
  const std::vector<float> addend{10, 0, -2, 40};
  std::vector<float> sum(4, 99);
  for (float* const kept : {sum.data(), static_cast<float*>(nullptr)}) {
    normalise(SummedInput<float, 1, true>{in.data(), addend.data(), kept});
    CHECK(out[0] == doctest::Approx(10));
    CHECK(out[2] == doctest::Approx(0));
    CHECK(out[3] == doctest::Approx(33));
  }
  CHECK(sum == std::vector<float>{11, 2, 1, 44});
}
