#include "kernels/conv_max_pool.h"

#include <algorithm>

namespace dw {

void conv_then_max_pool(const KernelTable& table, Stream stream, const ConvShape& convolution,
                        const PoolShape& pooling, const void* in, const void* weight, const void* bias,
                        bool relu, void* out, int64_t together) {
  const ConvShape& s = convolution;
  const auto bytes = [&](int64_t elements) { return static_cast<size_t>(elements) * size_of(s.dtype); };
  const size_t in_image = bytes(s.in_height * s.in_width * s.in_channels);
  const int64_t out_elements = pooling.out_height() * pooling.out_width() * s.out_channels;
  const Buffer images(stream.device,
                      bytes(std::min(together, s.batch) * s.out_height() * s.out_width() * s.out_channels));
  for (int64_t first = 0; first < s.batch; first += together) {
    ConvShape some = s;
    PoolShape pooled = pooling;
    some.batch = pooled.batch = std::min(together, s.batch - first);
    const auto image = static_cast<size_t>(first);
    table.conv_forward(stream, some, static_cast<const std::byte*>(in) + image * in_image, weight,
                       images.data());
    table.max_pool(stream, pooled, images.data(), static_cast<std::byte*>(out) + image * bytes(out_elements),
                   nullptr);
  }
  View rows{out, s.dtype, 2, {}, {}}, row{const_cast<void*>(bias), s.dtype, 1, {}, {}};
  rows.shape = {s.batch * out_elements / s.out_channels, s.out_channels};
  rows.stride = {s.out_channels, 1};
  row.shape = {s.out_channels};
  row.stride = {1};
  if (bias != nullptr) table.binary(stream, BinaryOp::add, rows, row, rows);
  if (relu) table.unary(stream, UnaryOp::relu, rows, rows, 0);
}

}  // namespace dw
