#include "kernels/conv_max_pool.h"

#include <algorithm>

namespace dw {
namespace {

View matrix(const void* data, DType dtype, int64_t rows, int64_t columns, int64_t row_stride) {
  return {const_cast<void*>(data), dtype, 2, {rows, columns}, {row_stride, 1}};
}

}  // namespace

void add_bias(const KernelTable& table, Stream stream, DType dtype, const PixelRows& shape, const void* bias,
              void* images) {
  const int64_t values = shape.width * shape.channels;
  const Buffer row(stream.device, static_cast<size_t>(values) * size_of(dtype));
  table.copy(stream, matrix(bias, dtype, shape.width, shape.channels, 0),
             matrix(row.data(), dtype, shape.width, shape.channels, shape.channels));
  const View all = matrix(images, dtype, shape.rows, values, values);
  table.binary(stream, BinaryOp::add, all, matrix(row.data(), dtype, 1, values, 0), all);
}

void conv_then_max_pool(const KernelTable& table, Stream stream, const ConvShape& convolution,
                        const PoolShape& pooling, const void* in, const void* weight, const void* bias,
                        bool relu, void* out, int64_t together) {
  const ConvShape& s = convolution;
  const auto bytes = [&](int64_t elements) { return static_cast<size_t>(elements) * size_of(s.dtype); };
  const size_t in_image = bytes(s.in_height * s.in_width * s.in_channels);
  const int64_t out_rows = pooling.out_height(), out_values = pooling.out_width() * s.out_channels;
  const Buffer images(stream.device,
                      bytes(std::min(together, s.batch) * s.out_height() * s.out_width() * s.out_channels));
  int64_t first = 0;
  do {  // also without an image, which the convolution may refuse
    ConvShape some = s;
    PoolShape pooled = pooling;
    some.batch = pooled.batch = std::min(together, s.batch - first);
    const auto image = static_cast<size_t>(first);
    table.conv_forward(stream, some, static_cast<const std::byte*>(in) + image * in_image, weight,
                       images.data());
    table.max_pool(stream, pooled, images.data(),
                   static_cast<std::byte*>(out) + image * bytes(out_rows * out_values), nullptr);
    first += together;
  } while (first < s.batch);
  if (bias != nullptr)
    add_bias(table, stream, s.dtype, {s.batch * out_rows, pooling.out_width(), s.out_channels}, bias, out);
  const View all = matrix(out, s.dtype, s.batch * out_rows, out_values, out_values);
  if (relu) table.unary(stream, UnaryOp::relu, all, all, 0);
}

}  // namespace dw
