// Convolution on the CPU, activations NHWC. Floor of each pass: 2 · batch · out_height · out_width ·
// out_channels · kernel_height · kernel_width · in_channels / groups flops, and the bytes of its three
// tensors once each. f64 goes to convolution_reference.cpp; 3x3 filters of stride 1 or 2 in f32 to
// convolution_winograd.cpp, which takes 0.3 to 0.8 of oneDNN's time (two cores, 16 to 256 channels), of one
// small image to convolution_winograd_few.cpp; few channels to convolution_direct.cpp; small problems,
// channels that oneDNN has no kernels for and other strided filters between many channels to
// convolution_patches.cpp; all other f32 to oneDNN. Filters are converted to the layout that prefers on every
// call, which costs little; the activations stay as they are, for converting them costs more than it saves,
// except between many channels.
#include <omp.h>

#include <array>
#include <dnnl.hpp>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "kernels/cpu/convolution_direct.h"
#include "kernels/cpu/convolution_patches.h"
#include "kernels/cpu/convolution_reference.h"
#include "kernels/cpu/convolution_winograd.h"
#include "kernels/device.h"
#include "kernels/table.h"

namespace dw::cpu_backend {
namespace {

using dnnl::memory;

enum class Pass : uint8_t { forward, backward_data, backward_weight };

struct PlanKey {
  ConvShape shape;
  Pass pass = Pass::forward;
  int threads = 1;  ///< oneDNN divides the work when a primitive is created
  bool operator==(const PlanKey&) const = default;
};

struct PlanKeyHash {
  size_t operator()(const PlanKey& key) const {
    const ConvShape& s = key.shape;
    uint64_t hash = 0xcbf29ce484222325ULL;
    for (const int64_t field : {s.batch, s.in_channels, s.in_height, s.in_width, s.out_channels,
                                s.kernel_height, s.kernel_width, s.stride, s.padding, s.dilation, s.groups,
                                static_cast<int64_t>(key.pass), static_cast<int64_t>(key.threads)})
      hash = (hash ^ static_cast<uint64_t>(field)) * 0x100000001b3ULL;
    return hash;
  }
};

/// One of the three tensors of a convolution: our layout, the primitive's, and the conversion if they differ.
struct Operand {
  int argument = 0;
  memory::desc ours, theirs;
  dnnl::reorder conversion;  ///< to `theirs` for inputs, to `ours` for the output
  bool converted() const { return ours != theirs; }
};

struct Plan {
  dnnl::primitive primitive;
  std::array<Operand, 3> operands;  ///< two inputs, then the output
  memory::desc scratch;
};

const dnnl::engine& engine() {
  static const dnnl::engine instance(dnnl::engine::kind::cpu, 0);
  return instance;
}

memory::desc activations(int64_t batch, int64_t channels, int64_t height, int64_t width) {
  return {{batch, channels, height, width}, memory::data_type::f32, memory::format_tag::nhwc};
}

memory::desc filters(const ConvShape& s) {
  const int64_t inputs = s.in_channels / s.groups, outputs = s.out_channels / s.groups;
  const int64_t row = s.kernel_width * inputs, filter = s.kernel_height * row;
  if (s.groups == 1)
    return {{outputs, inputs, s.kernel_height, s.kernel_width},
            memory::data_type::f32,
            memory::dims{filter, 1, row, inputs}};
  return {{s.groups, outputs, inputs, s.kernel_height, s.kernel_width},
          memory::data_type::f32,
          memory::dims{outputs * filter, filter, 1, row, inputs}};
}

memory::desc any_layout(const memory::desc& layout) {
  return {layout.dims(), memory::data_type::f32, memory::format_tag::any};
}

Operand operand(int argument, const memory::desc& ours, const memory::desc& theirs, bool is_output) {
  Operand result{argument, ours, theirs, {}};
  if (result.converted())
    result.conversion = is_output ? dnnl::reorder({engine(), theirs, engine(), ours})
                                  : dnnl::reorder({engine(), ours, engine(), theirs});
  return result;
}

Plan make_plan(const PlanKey& key) {
  const ConvShape& s = key.shape;
  const memory::desc source = activations(s.batch, s.in_channels, s.in_height, s.in_width);
  const memory::desc destination = activations(s.batch, s.out_channels, s.out_height(), s.out_width());
  const memory::desc weight = filters(s);
  // Worth 5 to 20 % of the time from 64 channels on, conversions included.
  const bool converting =
      s.in_channels >= 64 && s.out_channels >= 64 && s.groups == 1 && s.kernel_height * s.kernel_width > 1;
  const memory::desc source_layout = converting ? any_layout(source) : source;
  const memory::desc destination_layout = converting ? any_layout(destination) : destination;
  const memory::dims strides(2, s.stride), dilation(2, s.dilation - 1), padding(2, s.padding);
  dnnl::primitive_attr attributes;
  attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
  const auto algorithm = dnnl::algorithm::convolution_direct;

  const dnnl::convolution_forward::primitive_desc forward(
      {dnnl::prop_kind::forward_training, algorithm, source_layout, any_layout(weight), destination_layout,
       strides, dilation, padding, padding},
      attributes, engine());
  if (key.pass == Pass::forward)
    return {dnnl::convolution_forward(forward),
            {operand(DNNL_ARG_SRC, source, forward.src_desc(), false),
             operand(DNNL_ARG_WEIGHTS, weight, forward.weights_desc(), false),
             operand(DNNL_ARG_DST, destination, forward.dst_desc(), true)},
            forward.scratchpad_desc()};
  if (key.pass == Pass::backward_data) {
    const dnnl::convolution_backward_data::primitive_desc backward(
        {algorithm, source_layout, any_layout(weight), destination_layout, strides, dilation, padding,
         padding},
        attributes, engine(), forward);
    return {dnnl::convolution_backward_data(backward),
            {operand(DNNL_ARG_DIFF_DST, destination, backward.diff_dst_desc(), false),
             operand(DNNL_ARG_WEIGHTS, weight, backward.weights_desc(), false),
             operand(DNNL_ARG_DIFF_SRC, source, backward.diff_src_desc(), true)},
            backward.scratchpad_desc()};
  }
  const dnnl::convolution_backward_weights::primitive_desc backward(
      {algorithm, source_layout, any_layout(weight), destination_layout, strides, dilation, padding, padding},
      attributes, engine(), forward);
  return {dnnl::convolution_backward_weights(backward),
          {operand(DNNL_ARG_SRC, source, backward.src_desc(), false),
           operand(DNNL_ARG_DIFF_DST, destination, backward.diff_dst_desc(), false),
           operand(DNNL_ARG_DIFF_WEIGHTS, weight, backward.diff_weights_desc(), true)},
          backward.scratchpad_desc()};
}

/// The plan for a problem, made once. The cache starts again when it is full; plans in use live on.
std::shared_ptr<const Plan> plan_for(const PlanKey& key) {
  constexpr size_t most_plans = 1024;
  static std::mutex mutex;
  static std::unordered_map<PlanKey, std::shared_ptr<const Plan>, PlanKeyHash> plans;
  const std::lock_guard lock(mutex);
  if (const auto found = plans.find(key); found != plans.end()) return found->second;
  if (plans.size() >= most_plans) plans.clear();
  return plans[key] = std::make_shared<const Plan>(make_plan(key));
}

std::string describe(const ConvShape& s) {
  return fmt::format("{} images {}x{}x{}, {} filters {}x{}, stride {}, padding {}, dilation {}, groups {}",
                     s.batch, s.in_channels, s.in_height, s.in_width, s.out_channels, s.kernel_height,
                     s.kernel_width, s.stride, s.padding, s.dilation, s.groups);
}

/// `first`, `second` and `out` are the operands of the pass in the order of Plan::operands.
void run(Pass pass, const ConvShape& shape, const void* first, const void* second, void* out) {
  static thread_local dnnl::stream queue(engine());
  const auto memory_at = [](const memory::desc& layout, void* data) {
    return memory(layout, engine(), data);
  };
  try {
    const auto plan = plan_for({shape, pass, omp_get_max_threads()});
    const std::array<void*, 3> data = {const_cast<void*>(first), const_cast<void*>(second), out};
    const Buffer scratch(cpu, plan->scratch.get_size());
    std::array<Buffer, 3> converted;
    std::unordered_map<int, memory> arguments = {
        {DNNL_ARG_SCRATCHPAD, memory_at(plan->scratch, scratch.data())}};
    for (size_t i = 0; i < 3; ++i) {
      const Operand& tensor = plan->operands[i];
      if (tensor.converted()) converted[i] = Buffer(cpu, tensor.theirs.get_size());
      arguments[tensor.argument] =
          memory_at(tensor.theirs, tensor.converted() ? converted[i].data() : data[i]);
      if (tensor.converted() && i < 2) {
        memory ours = memory_at(tensor.ours, data[i]);
        dnnl::reorder(tensor.conversion).execute(queue, ours, arguments[tensor.argument]);
      }
    }
    plan->primitive.execute(queue, arguments);
    const Operand& result = plan->operands[2];
    if (result.converted()) {
      memory ours = memory_at(result.ours, out);
      dnnl::reorder(result.conversion).execute(queue, arguments[result.argument], ours);
    }
    queue.wait();
  } catch (const dnnl::error& error) {
    fail("oneDNN refused the convolution of {}: {}", describe(shape), error.what());
  }
}

void check(const ConvShape& s) {
  require(s.dtype == DType::f32 || s.dtype == DType::f64,
          "convolution on the CPU supports f32 and f64, found {}", name_of(s.dtype));
  require(s.batch > 0 && s.in_channels > 0 && s.out_channels > 0,
          "convolution expects images and channels, found {}", describe(s));
  require(s.groups > 0 && s.in_channels % s.groups == 0 && s.out_channels % s.groups == 0,
          "convolution expects channels divisible by groups, found {}", describe(s));
  require(s.stride > 0 && s.dilation > 0 && s.padding >= 0,
          "convolution expects stride and dilation of at least 1 and padding of at least 0, found {}",
          describe(s));
  require(s.in_height + 2 * s.padding >= s.dilation * (s.kernel_height - 1) + 1 &&
              s.in_width + 2 * s.padding >= s.dilation * (s.kernel_width - 1) + 1,
          "convolution expects a filter no larger than its padded input, found {}", describe(s));
}

int64_t positions_of(const ConvShape& s) {
  return s.batch * s.out_height() * s.out_width();
}

/// Whether oneDNN takes longer to prepare than to multiply.
bool is_small(const ConvShape& s) {
  constexpr int64_t few_products = 16 << 20;
  return positions_of(s) * s.in_channels * s.out_channels * s.kernel_height * s.kernel_width <= few_products;
}

bool in_blocks(int64_t channels) {
  return channels % 16 == 0;
}

/// Whether the pass goes to convolution_direct.cpp, where Winograd filtering does not take it. Forward,
/// oneDNN is faster with the channels that it has kernels for, and patches of many channels are, where they
/// are few.
bool prefers_direct(const ConvShape& s, Pass pass) {
  if (pass == Pass::backward_data || !direct_fits(s)) return false;
  if (pass == Pass::backward_weight) return true;
  constexpr int64_t deep = 32;
  if (is_small(s))
    return !in_blocks(s.in_channels) || s.in_channels * s.kernel_height * s.kernel_width < deep;
  return !in_blocks(s.out_channels) || !(s.in_channels <= 3 || s.in_channels % 4 == 0);
}

/// Whether the pass goes to convolution_patches.cpp, where neither of those takes it: what is small; strided
/// filters between many channels; gradients of filters whose channels do not fill the blocks that oneDNN's
/// fast kernels take.
bool prefers_patches(const ConvShape& s, Pass pass) {
  constexpr int64_t few_positions = 256, some_positions = 256, many_positions = 1024, many_channels = 64;
  if (s.groups > 1) return false;
  const int64_t positions = positions_of(s);
  const bool small = is_small(s), wide = s.kernel_height * s.kernel_width > 1;
  const bool strided = wide && s.stride > 1 && s.in_channels >= many_channels && positions >= many_positions;
  switch (pass) {
    case Pass::forward:
      return small || strided || positions <= few_positions;
    case Pass::backward_data:
      return strided || (small && positions >= some_positions);
    case Pass::backward_weight:
      break;
  }
  return (small && positions >= some_positions) || !in_blocks(s.out_channels) ||
         !(in_blocks(s.in_channels) || s.in_channels <= 3);
}

void forward(Stream, const ConvShape& shape, const void* in, const void* weight, void* out) {
  check(shape);
  if (shape.dtype == DType::f64)
    reference_forward(shape, static_cast<const double*>(in), static_cast<const double*>(weight),
                      static_cast<double*>(out));
  else if (winograd_few_fits(shape))
    winograd_few_forward(shape, static_cast<const float*>(in), static_cast<const float*>(weight),
                         static_cast<float*>(out));
  else if (winograd_fits(shape))
    winograd_forward(shape, static_cast<const float*>(in), static_cast<const float*>(weight),
                     static_cast<float*>(out));
  else if (prefers_direct(shape, Pass::forward))
    direct_forward(shape, static_cast<const float*>(in), static_cast<const float*>(weight),
                   static_cast<float*>(out));
  else if (prefers_patches(shape, Pass::forward))
    patches_forward(shape, static_cast<const float*>(in), static_cast<const float*>(weight),
                    static_cast<float*>(out));
  else
    run(Pass::forward, shape, in, weight, out);
}

void backward_data(Stream, const ConvShape& shape, const void* out_gradient, const void* weight,
                   void* in_gradient) {
  check(shape);
  if (shape.dtype == DType::f64)
    reference_backward_data(shape, static_cast<const double*>(out_gradient),
                            static_cast<const double*>(weight), static_cast<double*>(in_gradient));
  else if (winograd_fits(shape))
    winograd_backward_data(shape, static_cast<const float*>(out_gradient), static_cast<const float*>(weight),
                           static_cast<float*>(in_gradient));
  else if (prefers_patches(shape, Pass::backward_data))
    patches_backward_data(shape, static_cast<const float*>(out_gradient), static_cast<const float*>(weight),
                          static_cast<float*>(in_gradient));
  else
    run(Pass::backward_data, shape, out_gradient, weight, in_gradient);
}

void backward_weight(Stream, const ConvShape& shape, const void* in, const void* out_gradient,
                     void* weight_gradient) {
  check(shape);
  if (shape.dtype == DType::f64)
    reference_backward_weight(shape, static_cast<const double*>(in), static_cast<const double*>(out_gradient),
                              static_cast<double*>(weight_gradient));
  else if (winograd_fits(shape))
    winograd_backward_weight(shape, static_cast<const float*>(in), static_cast<const float*>(out_gradient),
                             static_cast<float*>(weight_gradient));
  else if (prefers_direct(shape, Pass::backward_weight))
    direct_backward_weight(shape, static_cast<const float*>(in), static_cast<const float*>(out_gradient),
                           static_cast<float*>(weight_gradient));
  else if (prefers_patches(shape, Pass::backward_weight))
    patches_backward_weight(shape, static_cast<const float*>(in), static_cast<const float*>(out_gradient),
                            static_cast<float*>(weight_gradient));
  else
    run(Pass::backward_weight, shape, in, out_gradient, weight_gradient);
}

}  // namespace

void add_convolution(KernelTable& table) {
  table.conv_forward = forward;
  table.conv_backward_data = backward_data;
  table.conv_backward_weight = backward_weight;
}

}  // namespace dw::cpu_backend
