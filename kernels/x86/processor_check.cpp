// Says in one line that the processor is too old for this build, instead of dying of an illegal instruction.
// Compiled for the oldest processors and run before everything else that is ours.
#include <unistd.h>

#include <cstring>

namespace {

[[gnu::constructor(101)]] void check_processor() {
  __builtin_cpu_init();
  if (__builtin_cpu_supports(DEEPWATER_BASELINE)) return;
  constexpr const char* message =
      "deepwater: this build needs a processor of level " DEEPWATER_BASELINE
      " (v3: AVX2 and FMA, Intel since 2013, AMD since 2015); for this one, build it from source\n";
  static_cast<void>(!::write(STDERR_FILENO, message, std::strlen(message)));
  ::_exit(1);
}

}  // namespace
