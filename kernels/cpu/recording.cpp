// Graphs on the CPU: while one is captured, kernels(cpu) is a table whose entries write their calls down. It
// keeps what CUDA's capture keeps, arguments and addresses, and refuses what that refuses; besides only what
// is made of constant filters.
// Floor: that of the kernels recorded.
#include <tuple>
#include <type_traits>

#include "kernels/cpu/convolution_winograd.h"
#include "kernels/cpu/recording.h"
#include "kernels/graph.h"
#include "kernels/memory_pool.h"

namespace dw::cpu_backend {
namespace {

using Calls = std::vector<std::function<void()>>;
thread_local Calls* written = nullptr;
thread_local CaptureOptions options_now;
/// Of constant filters that this capture keeps transformed.
thread_local size_t kept_bytes = 0;

/// What is kept of an argument: a copy, and of a list its elements.
template <typename T>
struct KeptArgument {
  using type = std::decay_t<T>;
};
template <typename T>
struct KeptArgument<std::span<const T>> {
  using type = std::vector<T>;
};

template <typename Argument>
typename KeptArgument<std::decay_t<Argument>>::type kept(const Argument& argument) {
  if constexpr (std::is_same_v<typename KeptArgument<std::decay_t<Argument>>::type, std::decay_t<Argument>>)
    return argument;
  else
    return {argument.begin(), argument.end()};
}

template <auto entry, bool changes_filters = false>
struct Recorder;
template <typename... Arguments, void (*KernelTable::*entry)(Arguments...), bool changes_filters>
struct Recorder<entry, changes_filters> {
  static void call(Arguments... arguments) {
    require(!changes_filters || !options_now.constant_filters,
            "a graph with constant filters cannot change them");
    written->push_back(
        [all = std::make_tuple(kept(arguments)...)] { std::apply(plain_table().*entry, all); });
  }
};

template <auto... entries>
void write_down(KernelTable& table) {
  ((table.*entries = Recorder<entries>::call), ...);
}

[[noreturn]] void refuse_wait(Stream) {
  fail("a captured step waits for its device");
}
[[noreturn]] void refuse_copy(Stream, void*, const void*, size_t) {
  fail("a captured step copies from or to the host");
}

void copy_on_device(Stream stream, void* to, const void* from, size_t bytes) {
  const MemoryPool& pool = memory_pool(cpu);
  if (!pool.owns(to) || !pool.owns(from)) refuse_copy(stream, to, from, bytes);
  Recorder<&KernelTable::copy_on_device>::call(stream, to, from, bytes);
}

// With constant filters these are transformed at the first replay, when memory may be asked for again: as
// many as stay in a third-level cache from replay to replay. From memory their fourfold size takes longer.
void conv_forward(Stream stream, const ConvShape& shape, const void* in, const void* weight, void* out) {
  constexpr size_t most_bytes = 16 << 20;
  const bool keeps = options_now.constant_filters && winograd_keeps(shape) &&
                     kept_bytes + winograd_filter_bytes(shape) <= most_bytes;
  if (!keeps) return Recorder<&KernelTable::conv_forward>::call(stream, shape, in, weight, out);
  kept_bytes += winograd_filter_bytes(shape);
  written->push_back([=, filters = std::make_shared<Buffer>()] {
    if (filters->data() == nullptr) *filters = winograd_filters(shape, static_cast<const float*>(weight));
    winograd_forward_kept(shape, static_cast<const float*>(in), *filters, static_cast<float*>(out));
  });
}

KernelTable make_recording_table() {
  using K = KernelTable;
  KernelTable table{};
  table.raw_allocate = plain_table().raw_allocate;
  table.raw_release = plain_table().raw_release;
  table.copy_from_host = refuse_copy;
  table.copy_to_host = [](Stream stream, void* to, const void* from, size_t bytes) {
    refuse_copy(stream, to, from, bytes);
  };
  table.copy_on_device = copy_on_device;
  table.synchronize = refuse_wait;
  write_down<&K::fill, &K::copy, &K::unary, &K::binary, &K::select, &K::axpy>(table);
  write_down<&K::reduce, &K::argmax, &K::add_score, &K::all_finite>(table);
  write_down<&K::gather_rows, &K::scatter_add_rows>(table);
  write_down<&K::uniform, &K::normal, &K::bernoulli, &K::convert_all>(table);
  table.sgd = Recorder<&K::sgd, true>::call;
  table.adam = Recorder<&K::adam, true>::call;
  write_down<&K::max_pool, &K::max_pool_backward, &K::average_pool, &K::average_pool_backward>(table);
  write_down<&K::batch_norm_training, &K::batch_norm_inference, &K::batch_norm_backward>(table);
  write_down<&K::softmax_cross_entropy, &K::conv_backward_data, &K::conv_backward_weight, &K::conv_max_pool,
             &K::matmul>(table);
  table.conv_forward = conv_forward;
  return table;
}

struct CpuRecording final : Graph::Recording {
  explicit CpuRecording(Calls all) : calls(std::move(all)) {}
  void replay() const override {
    for (const auto& call : calls) call();
  }
  Calls calls;
};

/// Where this thread's calls go while it lives.
class Writing {
 public:
  Writing(Calls& calls, const CaptureOptions& options) {
    written = &calls;
    options_now = options;
    kept_bytes = 0;
  }
  Writing(const Writing&) = delete;
  Writing& operator=(const Writing&) = delete;
  ~Writing() { written = nullptr; }
};

}  // namespace

std::unique_ptr<Graph::Recording> record(const std::function<void()>& body, const CaptureOptions& options) {
  Calls calls;
  {
    const Writing writing(calls, options);
    body();
  }
  return std::make_unique<CpuRecording>(std::move(calls));
}

const KernelTable* recording_table() {
  static const KernelTable table = make_recording_table();
  return written != nullptr ? &table : nullptr;
}

}  // namespace dw::cpu_backend

namespace dw {

void queue_on_cpu(std::function<void()> kernel) {
  if (cpu_backend::written != nullptr)
    cpu_backend::written->push_back(std::move(kernel));
  else
    kernel();
}

}  // namespace dw
