// The CPU as a device: memory from the system and copies that are done when they return.
// Floor of a copy: twice its bytes.
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>

#include "kernels/table.h"

namespace dw::cpu_backend {
namespace {

constexpr size_t huge_page = size_t{2} << 20;

/// More than the machine has is refused here: the system would grant it and kill the program on first use.
void* raw_allocate(int, size_t bytes) {
  const auto pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
  if (pages > 0 && bytes / static_cast<size_t>(page) > static_cast<size_t>(pages)) return nullptr;
  void* data = nullptr;
  if (posix_memalign(&data, bytes >= huge_page ? huge_page : 4096, bytes) != 0) return nullptr;
  if (bytes >= huge_page) madvise(data, bytes, MADV_HUGEPAGE);
  return data;
}

void raw_release(int, void* data) {
  std::free(data);  // NOLINT(*-owning-memory, *-no-malloc): where raw memory begins and ends
}

void copy_memory(Stream, void* to, const void* from, size_t bytes) {
  if (bytes > 0) std::memmove(to, from, bytes);
}

void synchronize(Stream) {}

}  // namespace

void add_device(KernelTable& table) {
  table.raw_allocate = raw_allocate;
  table.raw_release = raw_release;
  table.copy_from_host = copy_memory;
  table.copy_to_host = copy_memory;
  table.copy_on_device = copy_memory;
  table.synchronize = synchronize;
}

}  // namespace dw::cpu_backend
