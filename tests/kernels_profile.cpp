// Profiles: every kernel is recorded with its floor, in steps of the profile's name and thread only, and what
// it computes stays as it was.
#include <doctest/doctest.h>

#include <bit>
#include <filesystem>
#include <thread>
#include <vector>

#include "core/files.h"
#include "kernels/profile.h"
#include "tests/installation.h"

using namespace dw;

namespace {

constexpr size_t pointers_in_table = sizeof(KernelTable) / sizeof(void (*)());

View view_of(std::vector<float>& values, std::initializer_list<int64_t> shape) {
  View view{values.data(), DType::f32, static_cast<int>(shape.size())};
  std::copy(shape.begin(), shape.end(), view.shape.begin());
  int64_t stride = 1;
  for (size_t d = shape.size(); d-- > 0;) {
    view.stride[d] = stride;
    stride *= view.shape[d];
  }
  return view;
}

// The only record of a profiled step that does `work`.
template <typename Work>
KernelRecord record_of(const Work& work) {
  Profile profile("test", 0);
  {
    const ProfiledStep step("test");
    work(kernels(cpu));
  }
  const std::vector<KernelRecord> records = profile.records();
  REQUIRE(records.size() == 1);
  CHECK(profile.steps() == 1);
  CHECK(records[0].seconds > 0);
  CHECK(records[0].seconds <= profile.seconds());
  return records[0];
}

}  // namespace

TEST_CASE("profile: every pointer of the kernel table is timed") {
  using Pointers = std::array<uintptr_t, pointers_in_table>;
  const auto plain = std::bit_cast<Pointers>(kernels(cpu));
  const Profile profile("test", 0);
  CHECK(std::bit_cast<Pointers>(kernels(cpu)) == plain);
  const ProfiledStep step("test");
  const auto timed = std::bit_cast<Pointers>(kernels(cpu));
  for (size_t i = 0; i < pointers_in_table; ++i) {
    CAPTURE(i);
    CHECK(plain[i] != 0);
    CHECK(timed[i] != 0);
    CHECK(timed[i] != plain[i]);
  }
}

TEST_CASE("profile: a call does what the kernel does and is recorded with its floor") {
  std::vector<float> in{1, 2, 3, 4, 5, 6}, out(6), row(3, 1.0F);
  const KernelRecord unary = record_of([&](const KernelTable& table) {
    table.unary({}, UnaryOp::multiply_scalar, view_of(in, {2, 3}), view_of(out, {2, 3}), 2);
    table.unary({}, UnaryOp::multiply_scalar, view_of(in, {2, 3}), view_of(out, {2, 3}), 2);
  });
  CHECK(out == std::vector<float>{2, 4, 6, 8, 10, 12});
  CHECK(unary.name == "unary");
  CHECK(unary.problem == "multiply_scalar 2×3");
  CHECK(unary.calls == 2);
  CHECK(unary.flops == 2 * 6);
  CHECK(unary.bytes == 2 * (24 + 24));

  View bias = view_of(row, {2, 3});
  bias.stride[0] = 0;
  const KernelRecord binary = record_of([&](const KernelTable& table) {
    table.binary({}, BinaryOp::add, view_of(in, {2, 3}), bias, view_of(out, {2, 3}));
  });
  CHECK(out == std::vector<float>{2, 3, 4, 5, 6, 7});
  CHECK(binary.problem == "add 2×3");
  CHECK(binary.bytes == 24 + 12 + 24);

  const KernelRecord axpy =
      record_of([&](const KernelTable& table) { table.axpy({}, 1, view_of(in, {6}), view_of(out, {6})); });
  CHECK(axpy.bytes == 3 * 24);

  const KernelRecord sum = record_of([&](const KernelTable& table) {
    table.reduce({}, ReduceOp::sum, view_of(in, {2, 3}), view_of(out, {2, 1}));
  });
  CHECK(sum.problem == "sum 2×3 → 2×1");
  CHECK(sum.flops == 6);
  CHECK(sum.bytes == 24 + 8);
}

TEST_CASE("profile: floors of convolution, matrix product, batch norm, pooling, optimizers and conversion") {
  std::vector<float> a(4096, 0.5F), b(4096, 0.5F), c(4096), d(64), e(64);
  ConvShape conv;
  conv.batch = 2, conv.in_channels = 4, conv.in_height = conv.in_width = 8, conv.out_channels = 6;
  conv.kernel_height = conv.kernel_width = 3, conv.stride = 2, conv.padding = 1;
  for (const bool forward : {true, false}) {
    const KernelRecord record = record_of([&](const KernelTable& table) {
      if (forward)
        table.conv_forward({}, conv, a.data(), b.data(), c.data());
      else
        table.conv_backward_weight({}, conv, a.data(), b.data(), c.data());
    });
    CHECK(record.name == (forward ? "conv_forward" : "conv_backward_weight"));
    CHECK(record.problem == "2×4×8×8 → 6, 3×3 stride 2");
    CHECK(record.flops == 2.0 * (2 * 6 * 4 * 4) * (4 * 3 * 3));
    CHECK(record.bytes == 4.0 * (2 * 4 * 8 * 8 + 2 * 6 * 4 * 4 + 6 * 4 * 9));
  }
  const PoolShape maxima{2, 4, 4, 6};
  const KernelRecord convolved = record_of([&](const KernelTable& table) {
    table.conv_max_pool({}, conv, maxima, a.data(), b.data(), nullptr, false, c.data());
  });
  CHECK(convolved.problem == "2×4×8×8 → 6, 3×3 stride 2 2×2 maxima");
  CHECK(convolved.flops == 2.0 * (2 * 6 * 4 * 4) * (4 * 3 * 3));
  CHECK(convolved.bytes == 4.0 * (2 * 4 * 8 * 8 + 2 * 6 * 2 * 2 + 6 * 4 * 9));
  const MatmulShape product{.m = 3, .n = 5, .k = 7, .transpose_b = true, .beta = 1};
  const KernelRecord matmul =
      record_of([&](const KernelTable& table) { table.matmul({}, product, a.data(), b.data(), c.data()); });
  CHECK(matmul.problem == "3×7·7×5ᵀ");
  CHECK(matmul.flops == 2 * 3 * 5 * 7);
  CHECK(matmul.bytes == 4 * (3 * 7 + 7 * 5 + 2 * 3 * 5));

  BatchNormShape norm;
  norm.rows = 32, norm.channels = 8, norm.relu = true;
  const BatchNormForward forward{.in = a.data(),
                                 .addend = b.data(),
                                 .sum = c.data(),
                                 .weight = d.data(),
                                 .bias = d.data(),
                                 .running_mean = e.data(),
                                 .running_variance = e.data() + 8,
                                 .residual = b.data(),
                                 .out = c.data() + 1024,
                                 .saved_mean = e.data() + 16,
                                 .saved_inverse_deviation = e.data() + 24};
  const KernelRecord fused =
      record_of([&](const KernelTable& table) { table.batch_norm_training({}, norm, forward); });
  CHECK(fused.problem == "32×8 sum residual relu");
  CHECK(fused.bytes == 5 * 4 * 32 * 8);
  BatchNormBackward backward{.out_gradient = a.data(),
                             .in = b.data(),
                             .out = b.data(),
                             .weight = d.data(),
                             .bias = d.data(),
                             .saved_mean = d.data(),
                             .saved_inverse_deviation = d.data(),
                             .in_gradient = c.data(),
                             .weight_gradient = e.data(),
                             .bias_gradient = e.data() + 8};
  for (const bool residual : {false, true}) {
    if (residual) backward.residual_gradient = c.data() + 1024;
    const KernelRecord record =
        record_of([&](const KernelTable& table) { table.batch_norm_backward({}, norm, backward); });
    CHECK(record.problem == (residual ? "32×8 residual relu" : "32×8 relu"));
    CHECK(record.bytes == (residual ? 5 : 3) * 4 * 32 * 8);
  }
  const PoolShape pool{.batch = 1, .height = 4, .width = 4, .channels = 2};
  std::vector<int64_t> index(8);
  const KernelRecord pooled = record_of(
      [&](const KernelTable& table) { table.max_pool({}, pool, a.data(), c.data(), index.data()); });
  CHECK(pooled.bytes == 4 * (32 + 8) + 8 * 8);

  const double rate = 0.1;
  const std::vector<OptimizerTensor> tensors{{a.data(), b.data(), c.data(), nullptr, 100},
                                             {a.data() + 100, b.data(), c.data() + 100, nullptr, 20}};
  const KernelRecord sgd = record_of([&](const KernelTable& table) {
    table.sgd({}, tensors, {&rate, 0.9, true});
  });
  CHECK(sgd.problem == "120 weights in 2");
  CHECK(sgd.bytes == 5 * 4 * 120);

  const std::vector<ConvertedTensor> converted{{a.data(), b.data(), 100, DType::f32, DType::bf16},
                                               {c.data(), b.data() + 50, 20, DType::f32, DType::bf16}};
  const KernelRecord conversion =
      record_of([&](const KernelTable& table) { table.convert_all({}, converted); });
  CHECK(conversion.problem == "120 elements in 2");
  CHECK(conversion.bytes == (4 + 2) * 120);
}

TEST_CASE("profile: only its thread's calls in steps of its name, after the warm-up") {
  std::vector<float> values(4);
  const auto fill = [&] { kernels(cpu).fill({}, view_of(values, {4}), 1); };
  const auto step = [&](const char* name) {
    const ProfiledStep profiled(name);
    fill();
  };
  CHECK_FALSE(Profile::is_active());
  {
    Profile profile("training", 1);
    CHECK(Profile::is_active());
    CHECK_THROWS_AS(Profile("training"), Error);
    fill();
    step("training");  // warm-up
    step("evaluation");
    CHECK(profile.records().empty());
    step("training");
    {
      const ProfiledStep profiled("training");
      fill();
      std::jthread(fill).join();
    }
    CHECK(profile.steps() == 2);
    REQUIRE(profile.records().size() == 1);
    CHECK(profile.records()[0].calls == 2);
    CHECK(profile.records()[0].bytes == 2 * 16);
  }
  CHECK_FALSE(Profile::is_active());
  const KernelTable& before = kernels(cpu);
  step("training");
  CHECK(&before == &kernels(cpu));
}

TEST_CASE("profile: what a kernel calls in turn is that kernel's") {
  std::vector<float> values(4);
  const auto fill = [&] { kernels(cpu).fill({}, view_of(values, {4}), 1); };
  Profile profile("test", 0);
  {
    const ProfiledStep step("test");
    profiled(
        {}, "outer",
        [] {
          return KernelCost{"whole", 1, 2};
        },
        fill);
    CHECK_THROWS_AS(profiled(
                        {}, "thrower", [] { return KernelCost{}; }, [] { fail("no"); }),
                    Error);
    fill();
  }
  std::map<std::string, int64_t> calls;
  for (const KernelRecord& record : profile.records()) calls[record.name] = record.calls;
  CHECK(calls == std::map<std::string, int64_t>{{"outer", 1}, {"thrower", 1}, {"fill", 1}});
}

TEST_CASE("profile: every file of kernels tells their floor in its first comment") {
  namespace fs = std::filesystem;
  const auto sources = test::source_folder("kernels");
  if (!sources) return;
  int files = 0;
  for (const char* folder : {"bodies", "cpu", "cuda"}) {
    for (const auto& entry : fs::directory_iterator(*sources / folder)) {
      const std::string text = read_text_file(entry.path());
      if (text.find("(KernelTable& table) {") == std::string::npos) continue;
      ++files;
      const std::string comment = text.substr(0, text.find("\n#include"));
      CHECK_MESSAGE(comment.find("Floor") != std::string::npos, entry.path().string());
    }
  }
  CHECK(files > 10);
}
