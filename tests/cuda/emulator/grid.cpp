// The emulated GPU's processors: every lane of a block is a fiber that runs until it waits at a barrier.
// Lanes run in an order drawn anew for every stretch between barriers, so that a barrier that is missing
// shows.
#include <algorithm>
#include <boost/context/fiber.hpp>
#include <boost/context/pooled_fixedsize_stack.hpp>
#include <cstring>
#include <memory>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/error.h"

EmulatedIndex threadIdx, blockIdx, gridDim;

namespace dw::cuda_backend {
constexpr size_t fence = 64;  // behind a block's shared memory, where nobody may write
__align__(16) unsigned char memory[emulator::most_shared_bytes + fence];
}  // namespace dw::cuda_backend

namespace emulator {

unsigned char exchange[most_lanes][16];

namespace {

using boost::context::fiber;
constexpr unsigned char unwritten = 0xff;  // a NaN, or a very large number
constexpr size_t stack_bytes = 192 << 10;

struct Lane {
  fiber context;
  Barrier waits = Barrier::none;
  bool ended = false;
};

fiber scheduler;
Lane* running = nullptr;

std::mt19937& generator() {
  static std::mt19937 instance(1);
  return instance;
}

class BlockOfLanes {
 public:
  BlockOfLanes(unsigned index, const Launch& launch, const std::function<void()>& kernel)
      : index_(index),
        lanes_(launch.lanes),
        order_(launch.lanes),
        shared_(launch.shared_bytes + dw::cuda_backend::fence, unwritten) {
    static boost::context::pooled_fixedsize_stack stacks(stack_bytes);
    std::iota(order_.begin(), order_.end(), 0U);
    for (Lane& lane : lanes_)
      lane.context = fiber(std::allocator_arg, stacks, [&lane, &kernel](fiber&& from) {
        scheduler = std::move(from);
        kernel();
        lane.ended = true;
        return std::move(scheduler);
      });
  }

  /// Until all lanes have ended or wait for the grid; true where they have ended.
  bool run() {
    std::memcpy(dw::cuda_backend::memory, shared_.data(), shared_.size());
    blockIdx.x = index_;
    while (run_ready() || release()) {
    }
    std::memcpy(shared_.data(), dw::cuda_backend::memory, shared_.size());
    for (size_t i = 0; i < dw::cuda_backend::fence; ++i)
      if (shared_[shared_.size() - 1 - i] != unwritten)
        dw::fail("block {} writes behind its shared memory", index_);
    if (all_wait_at(Barrier::grid)) return count_living() == 0;
    for (size_t lane = 0; lane < lanes_.size(); ++lane)
      if (!lanes_[lane].ended)
        dw::fail("lane {} of block {} waits at a barrier (kind {}) that others never reach", lane, index_,
                 static_cast<int>(lanes_[lane].waits));
    return true;
  }

  void leave_grid_barrier() {
    for (Lane& lane : lanes_) lane.waits = Barrier::none;
  }

 private:
  bool run_ready() {
    bool any = false;
    std::shuffle(order_.begin(), order_.end(), generator());
    for (const unsigned index : order_) {
      Lane& lane = lanes_[index];
      if (lane.ended || lane.waits != Barrier::none) continue;
      any = true;
      running = &lane;
      threadIdx.x = index;
      lane.context = std::move(lane.context).resume();
    }
    return any;
  }

  // Lets those go on who wait at a barrier that all have reached.
  bool release() {
    bool any = false;
    for (size_t first = 0; first < lanes_.size(); first += warp_lanes)
      any = release(first, std::min(lanes_.size(), first + warp_lanes), Barrier::warp) || any;
    return release(0, lanes_.size(), Barrier::block) || any;
  }
  bool release(size_t first, size_t end, Barrier barrier) {
    bool any = false;
    for (size_t i = first; i < end; ++i) {
      if (lanes_[i].ended) continue;
      if (lanes_[i].waits != barrier) return false;
      any = true;
    }
    for (size_t i = first; i < end; ++i) lanes_[i].waits = Barrier::none;
    return any;
  }

  size_t count_living() const {
    return static_cast<size_t>(
        std::count_if(lanes_.begin(), lanes_.end(), [](const Lane& l) { return !l.ended; }));
  }
  bool all_wait_at(Barrier barrier) const {
    return std::all_of(lanes_.begin(), lanes_.end(),
                       [&](const Lane& l) { return l.ended || l.waits == barrier; });
  }

  unsigned index_;
  std::vector<Lane> lanes_;
  std::vector<unsigned> order_;
  std::vector<unsigned char> shared_;
};

void run_together(const Launch& launch, const std::function<void()>& kernel) {
  std::vector<std::unique_ptr<BlockOfLanes>> blocks;
  for (unsigned i = 0; i < launch.blocks; ++i)
    blocks.push_back(std::make_unique<BlockOfLanes>(i, launch, kernel));
  for (bool all_ended = false; !all_ended;) {
    std::shuffle(blocks.begin(), blocks.end(), generator());
    size_t ended = 0;
    for (const auto& block : blocks) ended += block->run() ? 1 : 0;
    all_ended = ended == blocks.size();
    if (!all_ended && ended > 0)
      dw::fail("{} of {} blocks ended while others wait for all", ended, blocks.size());
    for (const auto& block : blocks) block->leave_grid_barrier();
  }
}

}  // namespace

void wait(Barrier barrier) {
  Lane& own = *running;
  own.waits = barrier;
  scheduler = std::move(scheduler).resume();
}

void run_grid(const Launch& launch, const std::function<void()>& kernel) {
  gridDim.x = launch.blocks;
  if (launch.together) return run_together(launch, kernel);
  std::vector<unsigned> order(launch.blocks);
  std::iota(order.begin(), order.end(), 0U);
  std::shuffle(order.begin(), order.end(), generator());
  for (const unsigned index : order)
    if (!BlockOfLanes(index, launch, kernel).run())
      dw::fail("a kernel that was not launched for it waits for its grid");
}

}  // namespace emulator
