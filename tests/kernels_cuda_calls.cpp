// What CUDA's matrix product, cross entropy and memory decide before they reach a GPU.
#include <doctest/doctest.h>

#include <cmath>
#include <numeric>
#include <random>
#include <set>
#include <vector>

#include "kernels/cuda/gemm_call.h"
#include "kernels/cuda/softmax_part.h"
#include "kernels/memory_pool.h"
#include "kernels/precision.h"

using namespace dw;
using namespace dw::cuda_backend;

namespace {

/// What a column-major library computes from a call.
std::vector<double> column_major_product(const GemmCall& call, const std::vector<double>& first,
                                         const std::vector<double>& second) {
  const auto at = [](const std::vector<double>& m, int64_t row, int64_t column, int64_t stride) {
    return m.at(static_cast<size_t>(column * stride + row));
  };
  std::vector<double> out(static_cast<size_t>(call.out_stride * call.columns));
  for (int64_t i = 0; i < call.rows; ++i)
    for (int64_t j = 0; j < call.columns; ++j)
      for (int64_t d = 0; d < call.depth; ++d)
        out[static_cast<size_t>(j * call.out_stride + i)] +=
            (call.transpose_first ? at(first, d, i, call.first_stride) : at(first, i, d, call.first_stride)) *
            (call.transpose_second ? at(second, j, d, call.second_stride)
                                   : at(second, d, j, call.second_stride));
  return out;
}

}  // namespace

TEST_CASE("CUDA matmul: the column-major call is the row-major product") {
  constexpr int64_t m = 3, n = 4, k = 5;
  std::vector<double> a(m * k), b(k * n);
  std::iota(a.begin(), a.end(), 1);
  std::iota(b.begin(), b.end(), -7);
  for (const bool transpose_a : {false, true})
    for (const bool transpose_b : {false, true}) {
      CAPTURE(transpose_a);
      CAPTURE(transpose_b);
      const MatmulShape shape{.m = m, .n = n, .k = k, .transpose_a = transpose_a, .transpose_b = transpose_b};
      const std::vector<double> c = column_major_product(gemm_call(shape), b, a);
      for (int64_t i = 0; i < m; ++i)
        for (int64_t j = 0; j < n; ++j) {
          double expected = 0;
          for (int64_t d = 0; d < k; ++d)
            expected += a[size_t(transpose_a ? d * m + i : i * k + d)] *
                        b[size_t(transpose_b ? j * k + d : d * n + j)];
          CHECK(c[size_t(i * n + j)] == expected);
        }
    }
}

TEST_CASE("CUDA cross entropy: a warp's parts merge to the softmax of the row") {
  constexpr int lanes = 32;
  std::mt19937 engine(5);
  std::normal_distribution<double> normal(0, 20);
  for (const int classes : {1, 2, 10, 31, 33, 100, 1000}) {
    CAPTURE(classes);
    std::vector<double> logits(static_cast<size_t>(classes));
    for (double& logit : logits) logit = normal(engine);
    logits[0] = -INFINITY;  // a masked class
    if (classes == 1) logits[0] = 3;

    std::vector<SoftmaxPart<float>> part(lanes);
    for (int lane = 0; lane < lanes; ++lane)
      for (int i = lane; i < classes; i += lanes)
        part[size_t(lane)].add(static_cast<float>(logits[size_t(i)]));
    for (int half = lanes / 2; half > 0; half /= 2)
      for (int lane = 0; lane < half; ++lane) part[size_t(lane)].merge(part[size_t(lane + half)]);

    double largest = -INFINITY, sum = 0;
    for (const double logit : logits) largest = std::max(largest, logit);
    for (const double logit : logits) sum += std::exp(logit - largest);
    const double last = logits.back();
    CHECK(part[0].loss(static_cast<float>(last)) ==
          doctest::Approx(std::log(sum) - (last - largest)).epsilon(1e-5));
    CHECK(part[0].probability(static_cast<float>(last)) ==
          doctest::Approx(std::exp(last - largest) / sum).epsilon(1e-4));
  }
}

TEST_CASE("CUDA cross entropy: a NaN logit spoils the row, wherever it stands") {
  for (const int place : {0, 1, 2}) {
    SoftmaxPart<float> part;
    for (int i = 0; i < 3; ++i) part.add(i == place ? NAN : 1.0F);
    CHECK(std::isnan(part.loss(1.0F)));
  }
}

TEST_CASE("memory that a graph holds is handed to nobody else") {
  const MemoryPool::Source source{
      [](int, size_t bytes) { return ::operator new (bytes, std::align_val_t{256}); },
      [](int, void* data) { ::operator delete (data, std::align_val_t{256}); }};
  MemoryPool pool(cpu, 256, source);
  const std::vector<size_t> sizes{100, 5000, 3 << 20, 9 << 20};
  std::set<void*> used;
  std::vector<void*> blocks;
  for (const size_t size : sizes) blocks.push_back(pool.allocate(size));
  for (void* block : blocks) used.insert(block);
  for (void* block : blocks) pool.release(block);

  const std::vector<void*> held = pool.take_cached();
  CHECK(pool.statistics().in_use == pool.statistics().reserved);
  blocks.clear();
  for (const size_t size : sizes) blocks.push_back(pool.allocate(size));
  for (void* block : blocks) CHECK(!used.contains(block));
  for (void* block : blocks) pool.release(block);
  for (void* block : held) pool.release(block);
  CHECK(pool.statistics().in_use == 0);
  pool.release_cached();
  CHECK(pool.statistics().reserved == 0);
}

TEST_CASE("precision is full unless asked otherwise") {
  CHECK(precision() == Precision::fp32);
  CHECK_FALSE(rounds_to_tf32());
  for (const Precision chosen : {Precision::tf32, Precision::bf16}) {
    set_precision(chosen);
    CHECK(precision() == chosen);
    CHECK(rounds_to_tf32());
  }
  set_precision(Precision::fp32);
}
