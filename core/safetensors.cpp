#include "core/safetensors.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

#include "core/files.h"
#include "core/strict_json.h"
#include "kernels/dtype.h"
#include "kernels/error.h"

namespace dw {
namespace {

static_assert(std::endian::native == std::endian::little, "safetensors data is used in place");

using nlohmann::json;

constexpr size_t length_bytes = 8;
constexpr uint64_t header_limit = 100'000'000;
constexpr size_t maximum_rank = 64;
constexpr size_t piece_size = 1 << 22;  // bytes of a file that are in memory at a time
constexpr const char* metadata_name = "__metadata__";

constexpr std::pair<std::string_view, size_t> element_sizes[] = {
    {"F64", 8},  {"I64", 8}, {"U64", 8}, {"C64", 8},  {"F32", 4}, {"I32", 4}, {"U32", 4},     {"F16", 2},
    {"BF16", 2}, {"I16", 2}, {"U16", 2}, {"BOOL", 1}, {"U8", 1},  {"I8", 1},  {"F8_E4M3", 1}, {"F8_E5M2", 1},
};

/// Bytes of an array, or an Error that starts with `where`.
uint64_t byte_size(const std::vector<int64_t>& shape, std::string_view dtype, std::string_view where) {
  const size_t element = safetensors_element_size(dtype);
  require(element != 0, "{}: unknown dtype '{}'", where, shortened(dtype));
  uint64_t size = element;
  bool overflows = false;
  for (const int64_t extent : shape) {
    require(extent >= 0, "{}: negative extent {}", where, extent);
    overflows |= __builtin_mul_overflow(size, static_cast<uint64_t>(extent), &size);
  }
  require(!overflows, "{}: shape [{}] times {} bytes does not fit 64 bits", where, fmt::join(shape, ", "),
          element);
  return size;
}

float half_to_float(uint16_t half) {
  const uint32_t sign = (half & 0x8000U) << 16;
  const uint32_t exponent = (half >> 10) & 0x1fU;
  const uint32_t mantissa = half & 0x3ffU;
  if (exponent == 0x1f) return std::bit_cast<float>(sign | 0x7f800000U | (mantissa << 13));
  if (exponent != 0) return std::bit_cast<float>(sign | ((exponent + 112) << 23) | (mantissa << 13));
  const float magnitude = static_cast<float>(mantissa) * 0x1p-24F;
  return sign != 0 ? -magnitude : magnitude;
}

template <typename From, typename To, typename Conversion>
void convert(std::span<const std::byte> bytes, std::span<To> out, Conversion conversion) {
  for (size_t i = 0; i < out.size(); ++i) {
    From value;
    std::memcpy(&value, bytes.data() + i * sizeof(From), sizeof(From));
    out[i] = static_cast<To>(conversion(value));
  }
}

/// `bytes` hold at least out.size() values of a floating dtype.
template <typename To>
void convert_floating(std::string_view dtype, std::span<const std::byte> bytes, std::span<To> out) {
  const auto same = [](auto value) { return value; };
  if (dtype == "F32") convert<float>(bytes, out, same);
  if (dtype == "F64") convert<double>(bytes, out, same);
  if (dtype == "F16") convert<uint16_t>(bytes, out, half_to_float);
  if (dtype == "BF16") convert<bfloat16>(bytes, out, [](bfloat16 v) { return float(v); });
}

/// Of a file's mapping, which is private and read-only: what is touched again is read from the file again.
void give_back(std::span<const std::byte> mapped) {
  const auto page = static_cast<size_t>(::sysconf(_SC_PAGESIZE));
  const auto begin = reinterpret_cast<uintptr_t>(mapped.data()), end = begin + mapped.size();
  const size_t before = (page - begin % page) % page, behind = end % page;  // of pages that others share
  if (mapped.size() <= before + behind) return;
  const auto whole = mapped.subspan(before, mapped.size() - before - behind);
  ::madvise(const_cast<std::byte*>(whole.data()), whole.size(), MADV_DONTNEED);
}

void require_floating(const SafetensorsFile& file, const std::string& name) {
  const std::string& dtype = file.at(name).dtype;
  require(is_floating(dtype), "{}: '{}' has dtype {}, expected F32, F64, F16 or BF16", file.path().string(),
          name, dtype);
}

/// The object's three fields and nothing else; offsets are relative to the data.
struct ParsedEntry {
  SafetensorsEntry entry;
  uint64_t begin = 0;
  uint64_t end = 0;
};

ParsedEntry parse_entry(const json& value, std::string_view where) {
  require(value.is_object() && value.size() == 3 && value.contains("dtype") && value.contains("shape") &&
              value.contains("data_offsets"),
          "{}: expected an object with dtype, shape and data_offsets", where);
  ParsedEntry parsed;
  const json& dtype = value["dtype"];
  require(dtype.is_string(), "{}: dtype is not a string", where);
  parsed.entry.dtype = dtype.get<std::string>();
  const json& shape = value["shape"];
  require(shape.is_array(), "{}: shape is not an array", where);
  for (const json& extent : shape) {
    require(extent.is_number_unsigned() && extent.get<uint64_t>() <= std::numeric_limits<int64_t>::max(),
            "{}: shape holds {}, expected integers from 0 to 2^63 - 1", where, shortened(extent.dump(), 30));
    parsed.entry.shape.push_back(extent.get<int64_t>());
  }
  const json& offsets = value["data_offsets"];
  require(offsets.is_array() && offsets.size() == 2 && offsets[0].is_number_unsigned() &&
              offsets[1].is_number_unsigned(),
          "{}: data_offsets is not a pair of non-negative integers", where);
  parsed.begin = offsets[0].get<uint64_t>();
  parsed.end = offsets[1].get<uint64_t>();
  return parsed;
}

}  // namespace

size_t safetensors_element_size(std::string_view dtype) {
  for (const auto& [name, size] : element_sizes)
    if (name == dtype) return size;
  return 0;
}

bool is_floating(std::string_view dtype) {
  return dtype == "F32" || dtype == "F64" || dtype == "F16" || dtype == "BF16";
}

void SafetensorsFile::Unmap::operator()(const std::byte* address) const {
  ::munmap(const_cast<std::byte*>(address), size);
}

SafetensorsFile SafetensorsFile::open(const std::filesystem::path& path) {
  SafetensorsFile file;
  file.path_ = path;
  // O_NONBLOCK: opening a pipe by mistake must not wait for a writer.
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  require(descriptor >= 0, "cannot open {}: {}", path.string(), std::strerror(errno));
  struct stat status {};
  const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
  file.size_ = regular ? static_cast<size_t>(status.st_size) : 0;
  void* const address =
      file.size_ > 0 ? ::mmap(nullptr, file.size_, PROT_READ, MAP_PRIVATE, descriptor, 0) : MAP_FAILED;
  const int cause = errno;
  ::close(descriptor);
  require(regular, "{} is not a regular file", path.string());
  require(file.size_ > length_bytes, "{}: {} bytes is too short for a safetensors file", path.string(),
          file.size_);
  require(address != MAP_FAILED, "cannot map {}: {}", path.string(), std::strerror(cause));
  file.mapping_ = {static_cast<const std::byte*>(address), Unmap{file.size_}};
  file.parse();
  return file;
}

void SafetensorsFile::parse() {
  const std::string where = path_.string();
  uint64_t header_size = 0;
  std::memcpy(&header_size, mapping_.get(), length_bytes);
  require(header_size <= header_limit, "{}: header of {} bytes, expected at most {}", where, header_size,
          header_limit);
  require(header_size <= size_ - length_bytes, "{}: header of {} bytes ends beyond the file's {} bytes",
          where, header_size, size_);
  const auto* const text = reinterpret_cast<const char*>(mapping_.get() + length_bytes);
  require(header_size > 0 && text[0] == '{', "{}: the header at byte {} does not start with '{{'", where,
          length_bytes);
  const json header = parse_strict_json({text, header_size}, where, {.depth = 3, .array = maximum_rank});

  const std::span<const std::byte> data = bytes().subspan(length_bytes + header_size);
  std::vector<std::pair<std::pair<uint64_t, uint64_t>, std::string>> ranges;
  for (const auto& [name, value] : header.items()) {
    const std::string here = fmt::format("{}: '{}'", where, shortened(name));
    if (name == metadata_name) {
      require(value.is_object(), "{} is not an object", here);
      for (const auto& [key, text_value] : value.items()) {
        require(text_value.is_string(), "{}: the value of '{}' is not a string", here, shortened(key));
        metadata_[key] = text_value.get<std::string>();
      }
      continue;
    }
    ParsedEntry parsed = parse_entry(value, here);
    require(parsed.begin <= parsed.end && parsed.end <= data.size(),
            "{}: data_offsets [{}, {}] do not fit the {} bytes of data", here, parsed.begin, parsed.end,
            data.size());
    const uint64_t expected = byte_size(parsed.entry.shape, parsed.entry.dtype, here);
    require(parsed.end - parsed.begin == expected,
            "{}: shape [{}] of {} takes {} bytes, data_offsets hold {}", here,
            fmt::join(parsed.entry.shape, ", "), parsed.entry.dtype, expected, parsed.end - parsed.begin);
    parsed.entry.bytes = data.subspan(parsed.begin, parsed.end - parsed.begin);
    ranges.push_back({{parsed.begin, parsed.end}, name});
    entries_.emplace(name, std::move(parsed.entry));
  }
  std::sort(ranges.begin(), ranges.end());
  uint64_t covered = 0;
  for (const auto& [range, name] : ranges) {
    require(range.first == covered, "{}: '{}' starts at data offset {}, expected {} ({})", where,
            shortened(name), range.first, covered, range.first < covered ? "overlap" : "gap");
    covered = range.second;
  }
  require(covered == data.size(), "{}: {} bytes of data, of which the header describes {}", where,
          data.size(), covered);
}

const SafetensorsEntry& SafetensorsFile::at(const std::string& name) const {
  const auto found = entries_.find(name);
  if (found != entries_.end()) return found->second;
  std::string names;
  for (const auto& [other, entry] : entries_) {
    if (names.size() > 200) {
      names += ", ...";
      break;
    }
    names += (names.empty() ? "" : ", ") + shortened(other);
  }
  fail("{} has no tensor '{}'; its {} tensors are: {}", path_.string(), shortened(name), entries_.size(),
       names);
}

FloatView SafetensorsFile::floats(const std::string& name, FilePass* pass) const {
  require_floating(*this, name);
  FloatView view(at(name).dtype, at(name).bytes);
  view.offset_ = static_cast<size_t>(view.bytes_.data() - mapping_.get());
  view.mapped_ = true;
  view.pass_ = pass;
  return view;
}

std::vector<double> SafetensorsFile::read_f64(const std::string& name) const {
  require_floating(*this, name);
  const SafetensorsEntry& entry = at(name);
  std::vector<double> values(entry.bytes.size() / safetensors_element_size(entry.dtype));
  convert_floating<double>(entry.dtype, entry.bytes, values);
  return values;
}

/// Visits what is left before `end`, at most a piece, and returns it.
std::span<const std::byte> FilePass::advance(size_t end) {
  const auto piece = bytes_.subspan(position_, std::min(piece_size, end - position_));
  visit_(piece);
  position_ += piece.size();
  return piece;
}

void FilePass::reach(size_t begin, size_t end) {
  const std::lock_guard lock(mutex_);
  while (position_ < begin) give_back(advance(begin));
  while (position_ < end) advance(end);  // the caller, who reads it, gives it back
}

FloatView::FloatView(std::string_view dtype, std::span<const std::byte> bytes)
    : dtype_(dtype), bytes_(bytes) {
  require(is_floating(dtype), "values of dtype {}, expected F32, F64, F16 or BF16", dtype);
  size_ = bytes.size() / safetensors_element_size(dtype);
}

void FloatView::read(size_t first, std::span<float> out) const {
  require(first <= size_ && out.size() <= size_ - first, "values {} to {} asked for, there are {}", first,
          first + out.size(), size_);
  const size_t element = safetensors_element_size(dtype_);
  while (!out.empty()) {
    const size_t count = std::min(out.size(), piece_size / element), begin = first * element;
    const auto piece = bytes_.subspan(begin, count * element);
    if (pass_ != nullptr) pass_->reach(offset_ + begin, offset_ + begin + piece.size());
    convert_floating<float>(dtype_, piece, out.first(count));
    if (mapped_) give_back(piece);
    first += count;
    out = out.subspan(count);
  }
}

std::vector<float> FloatView::all() const {
  std::vector<float> values(size_);
  read(0, values);
  return values;
}

void write_safetensors(const std::filesystem::path& path, const std::map<std::string, std::string>& metadata,
                       const std::map<std::string, SafetensorsEntry>& entries) {
  using Item = std::map<std::string, SafetensorsEntry>::const_pointer;
  std::vector<Item> by_alignment;
  for (const auto& item : entries) {
    const std::string here = fmt::format("{}: '{}'", path.string(), shortened(item.first));
    require(item.first != metadata_name, "{} is not a name for a tensor", here);
    const uint64_t expected = byte_size(item.second.shape, item.second.dtype, here);
    require(item.second.bytes.size() == expected, "{}: shape [{}] of {} takes {} bytes, found {}", here,
            fmt::join(item.second.shape, ", "), item.second.dtype, expected, item.second.bytes.size());
    by_alignment.push_back(&item);
  }
  // Wide elements first: every array is then aligned to its element, as memory-mapping readers like it.
  std::stable_sort(by_alignment.begin(), by_alignment.end(), [](Item a, Item b) {
    return safetensors_element_size(a->second.dtype) > safetensors_element_size(b->second.dtype);
  });

  std::map<std::string, uint64_t> offsets;
  uint64_t offset = 0;
  for (const Item item : by_alignment) {
    offsets[item->first] = offset;
    offset += item->second.bytes.size();
  }
  nlohmann::ordered_json header = nlohmann::ordered_json::object();
  if (!metadata.empty()) header[metadata_name] = metadata;
  for (const auto& [name, entry] : entries) {
    nlohmann::ordered_json& fields = header[name];
    fields["dtype"] = entry.dtype;
    fields["shape"] = entry.shape;
    fields["data_offsets"] = {offsets[name], offsets[name] + entry.bytes.size()};
  }
  std::string text;
  try {
    text = header.dump();
  } catch (const json::exception& error) {
    fail("{}: a name or metadata value is not UTF-8: {}", path.string(), error.what());
  }
  text.resize((text.size() + 7) / 8 * 8, ' ');
  require(text.size() <= header_limit, "{}: header of {} bytes, expected at most {}", path.string(),
          text.size(), header_limit);

  AtomicFile file(path);
  const uint64_t header_size = text.size();
  file.write(std::as_bytes(std::span(&header_size, 1)));
  file.write(text);
  for (const Item item : by_alignment) file.write(item->second.bytes);
  file.commit();
}

}  // namespace dw
