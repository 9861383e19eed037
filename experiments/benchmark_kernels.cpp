// Benchmarks of the kernel table.
#include <array>

#include "core/random.h"
#include "core/tensor.h"
#include "experiments/benchmark_cases.h"
#include "kernels/precision.h"
#include "kernels/table.h"

namespace dw {
namespace {

/// Every distinct convolution of a network, image and filter square, padded to keep the size.
struct Convolution {
  int64_t in, size, out, kernel, stride;
};

struct NormalisedLayer {
  int64_t channels, size;
};

struct NetworkShapes {
  std::string name;
  int64_t batch;
  std::vector<Convolution> convolutions;
  std::vector<NormalisedLayer> norms;
  int64_t features;  // into the last linear layer
};

// Wide residual network of depth 10: one block a stage.
NetworkShapes wide_resnet(const std::string& name, int64_t width, int64_t batch) {
  const int64_t a = 16 * width, b = 32 * width, c = 64 * width;
  NetworkShapes net{name, batch, {{3, 32, 16, 3, 1}}, {{16, 32}, {a, 32}, {b, 16}, {c, 8}}, c};
  net.convolutions.push_back({16, 32, a, 3, 1});
  if (width > 1) {
    net.convolutions.push_back({16, 32, a, 1, 1});
    net.convolutions.push_back({a, 32, a, 3, 1});
  } else {
    net.norms.erase(net.norms.begin());
  }
  net.convolutions.insert(net.convolutions.end(), {{a, 32, b, 3, 2},
                                                   {a, 32, b, 1, 2},
                                                   {b, 16, b, 3, 1},
                                                   {b, 16, c, 3, 2},
                                                   {b, 16, c, 1, 2},
                                                   {c, 8, c, 3, 1}});
  return net;
}

// ResNet-18 for small images: 3×3 stem, no pooling after it.
NetworkShapes resnet_18() {
  NetworkShapes net{"resnet-18", 64, {{3, 32, 64, 3, 1}, {64, 32, 64, 3, 1}}, {{64, 32}}, 512};
  for (int64_t in = 64, size = 32; in < 512; in *= 2, size /= 2) {
    net.convolutions.push_back({in, size, 2 * in, 3, 2});
    net.convolutions.push_back({in, size, 2 * in, 1, 2});
    net.convolutions.push_back({2 * in, size / 2, 2 * in, 3, 1});
    net.norms.push_back({2 * in, size / 2});
  }
  return net;
}

std::vector<NetworkShapes> networks() {
  return {wide_resnet("wrn-10-1", 1, 128), wide_resnet("wrn-10-4", 4, 64), resnet_18()};
}

// Of matrices, images and activations; parameters and statistics are f32.
DType data_type() {
  return precision() == Precision::bf16 ? DType::bf16 : DType::f32;
}

Tensor random(const Shape& shape, Device device, DType dtype = data_type()) {
  return random_normal(shape, {1, 1, 0}, 0, 1, DType::f32, device).to(dtype);
}

void add_convolutions(std::vector<BenchmarkCase>& cases, const NetworkShapes& net, Device device) {
  for (const Convolution& c : net.convolutions) {
    ConvShape s;
    s.dtype = data_type();
    s.batch = net.batch, s.in_channels = c.in, s.in_height = s.in_width = c.size, s.out_channels = c.out;
    s.kernel_height = s.kernel_width = c.kernel, s.stride = c.stride, s.padding = c.kernel / 2;
    const std::string problem =
        fmt::format("{}/b{}-{}x{}x{}-{}-{}x{}{}", net.name, net.batch, c.in, c.size, c.size, c.out, c.kernel,
                    c.kernel, c.stride == 1 ? "" : fmt::format("-stride{}", c.stride));
    struct Memory {
      Tensor in, weight, out;
    };
    const auto memory = [s, device] {
      return Memory{random({s.batch * s.in_height * s.in_width * s.in_channels}, device),
                    random({s.out_channels * s.kernel_height * s.kernel_width * s.in_channels}, device),
                    random({s.batch * s.out_height() * s.out_width() * s.out_channels}, device)};
    };
    const auto add = [&](const char* kernel, auto call) {
      cases.push_back({fmt::format("{}/{}", kernel, problem), [=] {
                         return [=, m = memory()] { call(kernels(device), current_stream(device), m); };
                       }});
    };
    add("conv_forward", [s](const KernelTable& table, Stream stream, const Memory& m) {
      table.conv_forward(stream, s, m.in.raw_data(), m.weight.raw_data(), m.out.raw_data());
    });
    // The gradient of the images themselves is nobody's need.
    if (c.in > 3)
      add("conv_backward_data", [s](const KernelTable& table, Stream stream, const Memory& m) {
        table.conv_backward_data(stream, s, m.out.raw_data(), m.weight.raw_data(), m.in.raw_data());
      });
    add("conv_backward_weight", [s](const KernelTable& table, Stream stream, const Memory& m) {
      table.conv_backward_weight(stream, s, m.in.raw_data(), m.out.raw_data(), m.weight.raw_data());
    });
  }
}

/// What a residual network does in the same pass: nothing, ReLU, and an addition before or behind.
struct Fusion {
  const char* name;
  bool relu, sum, residual;
};
constexpr std::array fusions{Fusion{"", false, false, false}, Fusion{"_relu", true, false, false},
                             Fusion{"_sum_relu", true, true, false},
                             Fusion{"_residual_relu", true, false, true}};

void add_batch_norms(std::vector<BenchmarkCase>& cases, const NetworkShapes& net, Device device) {
  struct Memory {
    Tensor in, out, gradient, other, third, weight, bias, mean, variance, saved_mean, saved_deviation;
  };
  for (const auto& [channels, size] : net.norms) {
    for (const Fusion& fusion : fusions) {
      BatchNormShape s;
      s.rows = net.batch * size * size, s.channels = channels, s.relu = fusion.relu;
      s.dtype = data_type();
      const auto memory = [s, device] {
        const auto rows = [&] { return random({s.rows, s.channels}, device); };
        const auto ones = [&] { return Tensor::full({s.channels}, 1, DType::f32, device); };
        return Memory{rows(), rows(), rows(), rows(), rows(), ones(), ones(), ones(), ones(), ones(), ones()};
      };
      const auto forward = [fusion](const Memory& m) {
        return BatchNormForward{.in = m.in.raw_data(),
                                .addend = fusion.sum ? m.other.raw_data() : nullptr,
                                .sum = fusion.sum ? m.third.raw_data() : nullptr,
                                .weight = m.weight.raw_data(),
                                .bias = m.bias.raw_data(),
                                .running_mean = m.mean.raw_data(),
                                .running_variance = m.variance.raw_data(),
                                .residual = fusion.residual ? m.other.raw_data() : nullptr,
                                .out = m.out.raw_data(),
                                .saved_mean = m.saved_mean.raw_data(),
                                .saved_inverse_deviation = m.saved_deviation.raw_data()};
      };
      // Gradients of weight and bias go where nothing is read from.
      const auto backward = [fusion](const Memory& m) {
        return BatchNormBackward{.out_gradient = m.gradient.raw_data(),
                                 .in = m.in.raw_data(),
                                 .out = m.out.raw_data(),
                                 .weight = m.weight.raw_data(),
                                 .bias = m.bias.raw_data(),
                                 .saved_mean = m.saved_mean.raw_data(),
                                 .saved_inverse_deviation = m.saved_deviation.raw_data(),
                                 .residual_gradient = fusion.residual ? m.other.raw_data() : nullptr,
                                 .in_gradient_so_far = fusion.sum ? m.third.raw_data() : nullptr,
                                 .in_gradient = m.third.raw_data(),
                                 .weight_gradient = m.mean.raw_data(),
                                 .bias_gradient = m.variance.raw_data()};
      };
      const auto add = [&](const char* kernel, auto call) {
        cases.push_back({fmt::format("{}{}/{}/{}x{}", kernel, fusion.name, net.name, s.rows, channels), [=] {
                           return [=, m = memory()] { call(kernels(device), current_stream(device), m); };
                         }});
      };
      add("batch_norm_training", [=](const KernelTable& table, Stream stream, const Memory& m) {
        table.batch_norm_training(stream, s, forward(m));
      });
      add("batch_norm_backward", [=](const KernelTable& table, Stream stream, const Memory& m) {
        table.batch_norm_backward(stream, s, backward(m));
      });
      add("batch_norm_inference", [=](const KernelTable& table, Stream stream, const Memory& m) {
        table.batch_norm_inference(stream, s, forward(m));
      });
    }
  }
}

void add_loss(std::vector<BenchmarkCase>& cases, int64_t rows, int64_t classes, Device device) {
  cases.push_back(
      {fmt::format("softmax_cross_entropy/{}x{}", rows, classes), [=] {
         const Tensor logits = random({rows, classes}, device), gradient = Tensor::empty_like(logits);
         const Tensor labels = Tensor::zeros({rows}, DType::i64, device);
         const Tensor losses = Tensor::empty({rows}, DType::f32, device);
         return [=] {
           kernels(device).softmax_cross_entropy(current_stream(device), logits.view(), labels.view(),
                                                 losses.view(), gradient.view());
         };
       }});
}

void add_optimizers(std::vector<BenchmarkCase>& cases, int64_t weights, Device device) {
  struct Memory {
    Tensor weight, gradient, first, second, rate, step;
  };
  const auto memory = [=] {
    return Memory{random({weights}, device, DType::f32),        random({weights}, device, DType::f32),
                  Tensor::zeros({weights}, DType::f32, device), Tensor::zeros({weights}, DType::f32, device),
                  Tensor::full({1}, 1e-6, DType::f64, device),  Tensor::full({1}, 1, DType::i64, device)};
  };
  cases.push_back(
      {fmt::format("sgd/{}", weights), [=] {
         return [=, m = memory()] {
           const OptimizerTensor tensor{m.weight.raw_data(),
                                        m.gradient.raw_data(),
                                        m.first.raw_data(),
                                        nullptr,
                                        weights,
                                        DType::f32,
                                        5e-4};
           kernels(device).sgd(current_stream(device), {&tensor, 1}, {m.rate.data<double>(), 0.9, true});
         };
       }});
  cases.push_back({fmt::format("adam/{}", weights), [=] {
                     return [=, m = memory()] {
                       const OptimizerTensor tensor{m.weight.raw_data(),
                                                    m.gradient.raw_data(),
                                                    m.first.raw_data(),
                                                    m.second.raw_data(),
                                                    weights,
                                                    DType::f32,
                                                    5e-4};
                       kernels(device).adam(current_stream(device), {&tensor, 1},
                                            {m.rate.data<double>(), m.step.data<int64_t>()});
                     };
                   }});
}

void add_elementwise(std::vector<BenchmarkCase>& cases, const std::string& name, int64_t count, Device device,
                     void (*call)(const KernelTable&, Stream, const Tensor& a, const Tensor& b)) {
  cases.push_back({fmt::format("{}/{}", name, count), [=] {
                     const Tensor a = random({count}, device), b = random({count}, device);
                     return [=] { call(kernels(device), current_stream(device), a, b); };
                   }});
}

void add_matmul(std::vector<BenchmarkCase>& cases, const std::string& name, MatmulShape s, Device device) {
  s.dtype = data_type();
  cases.push_back({fmt::format("{}/{}x{}x{}", name, s.m, s.n, s.k), [=] {
                     const Tensor a = random({s.m * s.k}, device), b = random({s.k * s.n}, device);
                     const Tensor c = Tensor::empty({s.m * s.n}, s.dtype, device);
                     return [=] {
                       kernels(device).matmul(current_stream(device), s, a.raw_data(), b.raw_data(),
                                              c.raw_data());
                     };
                   }});
}

}  // namespace

std::vector<BenchmarkCase> kernel_benchmarks(Device device) {
  std::vector<BenchmarkCase> cases;
  add_matmul(cases, "machine/sgemm", {.m = 1536, .n = 1536, .k = 1536}, device);
  add_convolutions(cases, {"machine", 6, {{1536, 16, 1536, 1, 1}}, {}, 0}, device);
  constexpr int64_t beyond_caches = int64_t{1} << 24;
  add_elementwise(cases, "machine/triad", beyond_caches, device,
                  [](const KernelTable& table, Stream stream, const Tensor& a, const Tensor& b) {
                    table.axpy(stream, 1e-3, a.view(), b.view());
                  });
  add_elementwise(cases, "machine/copy", beyond_caches, device,
                  [](const KernelTable& table, Stream stream, const Tensor& a, const Tensor& b) {
                    table.copy(stream, a.view(), b.view());
                  });
  for (const NetworkShapes& net : networks()) {
    add_convolutions(cases, net, device);
    add_batch_norms(cases, net, device);
    add_matmul(cases, "matmul/" + net.name, {.m = net.batch, .n = 10, .k = net.features, .transpose_b = true},
               device);
  }
  for (const auto& [rows, classes] : {std::array<int64_t, 2>{64, 10}, {256, 10}, {64, 1000}})
    add_loss(cases, rows, classes, device);
  // Weights of WRN-10-1, WRN-10-4 and ResNet-18.
  for (const int64_t weights : {77'850, 1'204'378, 11'173'962}) add_optimizers(cases, weights, device);
  constexpr int64_t activations = int64_t{64} * 64 * 32 * 32;
  add_elementwise(cases, "add", activations, device,
                  [](const KernelTable& table, Stream stream, const Tensor& a, const Tensor& b) {
                    table.binary(stream, BinaryOp::add, a.view(), b.view(), b.view());
                  });
  add_elementwise(cases, "relu", activations, device,
                  [](const KernelTable& table, Stream stream, const Tensor& a, const Tensor& b) {
                    table.unary(stream, UnaryOp::relu, a.view(), b.view(), 0);
                  });
  for (BenchmarkCase& each : cases) each.only_queues = true;
  return cases;
}

}  // namespace dw
