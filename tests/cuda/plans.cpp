// Convolution plans for an H200, built from its description: no GPU or driver is needed. They show that the
// descriptors are right, that cuDNN has engines, and that the chosen ones obey precision and determinism.
#include <doctest/doctest.h>

#include <algorithm>
#include <utility>
#include <vector>

#include "kernels/cuda/conv_plan.h"
#include "kernels/cuda/shared_library.h"
#include "tests/cuda/h200.h"

using namespace dw;
using namespace dw::cuda_backend;

namespace {

constexpr ConvPass passes[] = {ConvPass::forward, ConvPass::backward_data, ConvPass::backward_weight};

/// The convolutions of a wide residual network on 32×32 images, each shape once.
std::vector<ConvShape> wide_resnet(int64_t batch, int64_t width) {
  std::vector<ConvShape> shapes{{batch, 3, 32, 32, 16, 3, 3, 1, 1}};
  int64_t channels = 16, size = 32;
  for (const int64_t stage : {16, 32, 64}) {
    const int64_t out = stage * width, stride = stage == 16 ? 1 : 2;
    if (channels != out || stride != 1) {
      shapes.push_back({batch, channels, size, size, out, 1, 1, stride, 0});
      shapes.push_back({batch, channels, size, size, out, 3, 3, stride, 1});
    }
    size /= stride;
    channels = out;
    shapes.push_back({batch, channels, size, size, channels, 3, 3, 1, 1});
  }
  return shapes;
}

/// Groups, depthwise, dilation, odd sizes, one image, a single channel.
const std::vector<ConvShape> unusual{
    {8, 16, 16, 16, 32, 3, 3, 1, 1, 1, 4}, {8, 16, 16, 16, 16, 3, 3, 1, 1, 1, 16},
    {8, 16, 16, 16, 32, 3, 3, 1, 2, 2, 1}, {8, 16, 17, 15, 32, 3, 3, 2, 1, 1, 1},
    {1, 64, 8, 8, 64, 3, 3, 1, 1, 1, 1},   {64, 1, 28, 28, 6, 5, 5, 1, 2, 1, 1},
    {8, 16, 16, 16, 32, 3, 3, 2, 2, 2, 2},
};

ConvPlan plan_of(ConvPlanKey key) {
  static const Descriptor h200 = device_properties(h200_description);
  return {key, {nullptr, &h200}};
}

/// Builds all three passes of every shape and returns how many use tensor cores.
int check_plans(const std::vector<ConvShape>& shapes, DType dtype, Precision precision) {
  int on_tensor_cores = 0;
  for (ConvShape shape : shapes) {
    shape.dtype = dtype;
    for (const ConvPass pass : passes) {
      CAPTURE(shape.in_channels);
      CAPTURE(shape.out_channels);
      CAPTURE(shape.in_height);
      CAPTURE(shape.groups);
      CAPTURE(name_of(pass));
      const ConvPlanKey key{shape, pass, precision, 16};
      const ConvPlan plan = plan_of(key);
      CHECK(is_allowed(plan.notes(), key));
      CHECK_FALSE(plan.notes().nondeterministic);
      CHECK_FALSE(plan.notes().reduced_precision_reduction);
      CHECK_FALSE(plan.notes().down_convert_inputs);
      CHECK(plan.workspace_bytes() < size_t{1} << 30);
      on_tensor_cores += plan.notes().tensor_core;
    }
  }
  return on_tensor_cores;
}

std::vector<ConvShape> all_networks() {
  std::vector<ConvShape> shapes = wide_resnet(128, 1);
  for (const auto& [batch, width] : {std::pair<int64_t, int64_t>{64, 4}, {64, 10}})
    for (const ConvShape& shape : wide_resnet(batch, width)) shapes.push_back(shape);
  return shapes;
}

bool no_cudnn() {
  const bool absent = !cudnn_library().found();
  if (absent) MESSAGE("cuDNN is not on this machine: skipped");
  return absent;
}

}  // namespace

TEST_CASE("H200 plans: wide residual networks in strict fp32 use no tensor core") {
  if (no_cudnn()) return;
  CHECK(check_plans(all_networks(), DType::f32, Precision::fp32) == 0);
}

TEST_CASE("H200 plans: wide residual networks in tf32 and bf16 run their 3x3 filters on tensor cores") {
  if (no_cudnn()) return;
  auto shapes = all_networks();
  // The stem and the 1x1 shortcuts are left to cuDNN: some of its first proposals for them use none.
  const auto rest = std::ranges::stable_partition(
      shapes, [](const ConvShape& shape) { return shape.kernel_height == 3 && shape.in_channels >= 16; });
  const std::vector<ConvShape> others(rest.begin(), rest.end());
  shapes.erase(rest.begin(), rest.end());
  REQUIRE(shapes.size() >= 15);
  for (const auto& [dtype, precision] :
       {std::pair{DType::f32, Precision::tf32}, std::pair{DType::bf16, Precision::fp32}}) {
    CHECK(check_plans(shapes, dtype, precision) == static_cast<int>(std::size(passes) * shapes.size()));
    check_plans(others, dtype, precision);
  }
}

TEST_CASE("H200 plans: groups, dilation and odd sizes in every dtype") {
  if (no_cudnn()) return;
  CHECK(check_plans(unusual, DType::f32, Precision::fp32) == 0);
  CHECK(check_plans(unusual, DType::f64, Precision::fp32) == 0);
  check_plans(unusual, DType::f32, Precision::tf32);
  check_plans(unusual, DType::bf16, Precision::fp32);
}

TEST_CASE("H200 plans: tensors that are aligned to their elements only") {
  if (no_cudnn()) return;
  for (const auto& [dtype, alignment] :
       {std::pair<DType, int64_t>{DType::f32, 4}, {DType::bf16, 2}, {DType::f64, 8}})
    for (const ConvPass pass : passes) {
      ConvShape shape{8, 16, 16, 16, 32, 3, 3, 1, 1};
      shape.dtype = dtype;
      CAPTURE(name_of(dtype));
      CAPTURE(name_of(pass));
      CHECK_NOTHROW(plan_of({shape, pass, Precision::fp32, alignment}));
    }
}

TEST_CASE("convolution plans: which engines the rules allow") {
  ConvPlanKey strict, tf32, bf16;
  tf32.precision = Precision::tf32;
  bf16.shape.dtype = DType::bf16;
  CHECK(is_allowed({}, strict));
  CHECK_FALSE(is_allowed({.tensor_core = true}, strict));
  CHECK(is_allowed({.tensor_core = true}, tf32));
  CHECK(is_allowed({.tensor_core = true}, bf16));
  for (const ConvPlanKey& key : {strict, tf32, bf16}) {
    CHECK_FALSE(is_allowed({.down_convert_inputs = true}, key));
    CHECK_FALSE(is_allowed({.reduced_precision_reduction = true}, key));
    CHECK_FALSE(is_allowed({.nondeterministic = true}, key));
    CHECK_FALSE(is_allowed({.transformed = true}, key));
  }
}

TEST_CASE("convolution plans: a problem that cuDNN refuses is an Error that names it") {
  if (no_cudnn()) return;
  ConvShape shape{8, 16, 16, 16, 32, 3, 3, 1, 1};
  shape.groups = 3;  // divides neither 16 nor 32
  CHECK_THROWS_AS(plan_of({shape, ConvPass::forward, Precision::fp32, 16}), Error);
  shape.groups = 1;
  shape.dtype = DType::i64;
  CHECK_THROWS_WITH_AS(plan_of({shape, ConvPass::forward, Precision::fp32, 16}),
                       doctest::Contains("expects f32, f64 or bf16, found i64"), Error);
}

TEST_CASE("convolution plans: a description that is no JSON is an Error with cuDNN's text") {
  if (no_cudnn()) return;
  CHECK_THROWS_WITH_AS(device_properties("H200"), doctest::Contains("cudnnBackend"), Error);
}
