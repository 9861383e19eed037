// Graphs on the CPU: what is written down, what a replay does, and what a capture refuses. CUDA's are in
// cuda/parity.cpp.
#include <doctest/doctest.h>

#include <cstring>
#include <numeric>
#include <vector>

#include "core/ops.h"
#include "core/tape.h"
#include "kernels/cpu/recording.h"
#include "kernels/graph.h"
#include "kernels/memory_pool.h"

using namespace dw;

TEST_CASE("graph: a replay runs the kernels of the body, on what its memory holds then") {
  const Tensor in = Tensor::full({4}, 2), out = Tensor::zeros({4});
  int host_runs = 0;
  const auto body = [&] {
    ++host_runs;
    CHECK((host_runs == 1 || Graph::is_capturing()));
    out.copy_from(add(square(in), 1));
  };
  body();  // fills the pool
  CHECK(out.to_vector<float>() == std::vector<float>(4, 5));
  out.fill(0);
  const Graph graph = Graph::capture(cpu, body);
  CHECK_FALSE(Graph::is_capturing());
  CHECK(out.to_vector<float>() == std::vector<float>(4, 0));
  graph.replay();
  CHECK(out.to_vector<float>() == std::vector<float>(4, 5));
  in.fill(3);
  graph.replay();
  CHECK(out.to_vector<float>() == std::vector<float>(4, 10));
  CHECK(host_runs == 2);
}

TEST_CASE("graph: what is allocated after a capture is not what its replays write") {
  const Tensor in = Tensor::full({1000}, 2), out = Tensor::zeros({1000});
  const auto body = [&] { out.copy_from(exp(square(in))); };
  body();
  const Graph graph = Graph::capture(cpu, body);
  std::vector<Tensor> bystanders;
  for (int i = 0; i < 50; ++i) bystanders.push_back(Tensor::full({1000}, i));
  graph.replay();
  for (int i = 0; i < 50; ++i)
    CHECK(bystanders[static_cast<size_t>(i)].to_vector<float>() ==
          std::vector<float>(1000, static_cast<float>(i)));
}

TEST_CASE("graph: reading back, copying from the host and nesting are errors, and leave no capture behind") {
  const Tensor values = Tensor::full({8}, 1);
  const auto refused = [](const std::function<void()>& body) {
    CHECK_THROWS_AS(static_cast<void>(Graph::capture(cpu, body)), Error);
    CHECK_FALSE(Graph::is_capturing());
  };
  refused([&] { static_cast<void>(values.to_vector<float>()); });
  refused([&] { static_cast<void>(all_finite(values)); });
  refused([&] { static_cast<void>(Tensor::from(std::vector<float>{1, 2}, {2})); });
  refused([&] { synchronize(cpu); });
  refused([&] { static_cast<void>(Graph::capture(cpu, [] {})); });
  refused([&] { static_cast<void>(Tensor::zeros({int64_t{1} << 28})); });  // more than the pool holds
  CHECK(add(values, 1).to_vector<float>() == std::vector<float>(8, 2));
}

TEST_CASE("graph: every kernel of the table can be written down") {
  std::vector<void*> entries(sizeof(KernelTable) / sizeof(void*));
  const Graph graph = Graph::capture(cpu, [&] {
    std::memcpy(entries.data(), static_cast<const void*>(&kernels(cpu)), sizeof(KernelTable));
  });
  std::vector<void*> plain(entries.size());
  std::memcpy(plain.data(), static_cast<const void*>(&kernels(cpu)), sizeof(KernelTable));
  size_t own = 0;
  for (size_t i = 0; i < entries.size(); ++i) {
    CAPTURE(i);
    CHECK(entries[i] != nullptr);
    own += entries[i] == plain[i];
  }
  CHECK(own == 2);  // memory itself
}

TEST_CASE("graph: lists of tensors are kept as they were at capture") {
  const Tensor weight = Tensor::full({5}, 1), gradient = Tensor::full({5}, 2);
  const Tensor rate = Tensor::full({1}, 0.5, DType::f64), momentum = Tensor::zeros({5});
  const auto body = [&] {
    std::vector<OptimizerTensor> list{
        {weight.raw_data(), gradient.raw_data(), momentum.raw_data(), nullptr, 5, DType::f32, 0}};
    kernels(cpu).sgd(current_stream(cpu), list, {rate.data<double>(), 0, false});
    list[0] = {};
  };
  const Graph graph = Graph::capture(cpu, body);
  graph.replay();
  rate.fill(0.25);
  graph.replay();
  CHECK(weight.to_vector<float>() == std::vector<float>(5, -0.5F));
}

TEST_CASE("graph: constant filters keep the values of the first replay, and other weights do not") {
  const Tensor image = Tensor::full({1, 32, 8, 8}, 1);
  const Tensor wide = Tensor::full({32, 32, 3, 3}, 0.5), point = Tensor::full({32, 32, 1, 1}, 0.5);
  for (const auto& [filters, doubled] : {std::pair{wide, 1.0F}, {point, 2.0F}}) {
    filters.fill(0.5);
    Tensor out;
    const auto body = [&, &weight = filters] {
      out = conv2d(image, weight, {}, {.padding = weight.size(2) / 2});
    };
    body();  // fills the pool
    out = Tensor();
    const Graph graph = Graph::capture(cpu, body, {.constant_filters = true});
    filters.fill(0.25);  // nothing has been computed yet
    graph.replay();
    const float before = out.to_vector<float>()[9];
    CHECK(before == doctest::Approx(0.25 * 32 * static_cast<double>(filters.numel()) / (32 * 32)));
    filters.fill(0.5);
    graph.replay();
    CHECK(out.to_vector<float>()[9] == doctest::Approx(doubled * before));
  }
}

TEST_CASE("graph: with constant filters an optimizer's step is an error") {
  const Tensor weight = Tensor::full({5}, 1), gradient = Tensor::full({5}, 2);
  const auto body = [&] {
    const std::vector<OptimizerTensor> list{
        {weight.raw_data(), gradient.raw_data(), nullptr, nullptr, 5, DType::f32, 0}};
    kernels(cpu).sgd(current_stream(cpu), list, {nullptr, 0, false});
  };
  CHECK_THROWS_WITH_AS(static_cast<void>(Graph::capture(cpu, body, {.constant_filters = true})),
                       doctest::Contains("cannot change them"), Error);
  CHECK_FALSE(Graph::is_capturing());
}

TEST_CASE("graph: of constant filters up to 16 MiB are kept") {
  const Tensor image = Tensor::full({1, 128, 8, 8}, 1), weight = Tensor::full({128, 128, 3, 3}, 0.5);
  Tensor out;
  const auto body = [&] {
    for (int i = 0; i < 9; ++i) out = conv2d(image, weight, {}, {.padding = 1});  // 2.3 MiB each
  };
  body();
  out = Tensor();
  const Graph graph = Graph::capture(cpu, body, {.constant_filters = true});
  const size_t before = memory_statistics(cpu).in_use;
  graph.replay();
  const size_t kept = memory_statistics(cpu).in_use - before;
  CHECK(kept > size_t{12} << 20);
  CHECK(kept <= size_t{16} << 20);
}
