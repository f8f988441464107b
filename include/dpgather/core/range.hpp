// Named ranges for profilers; nothing at all unless DPGATHER_NVTX is defined.
#pragma once

#if defined(DPGATHER_NVTX)
#include <nvtx3/nvToolsExt.h>
#endif

namespace dpgather::detail {

/// Names what the host does while it lives. `name` is a literal.
class Range {
 public:
#if defined(DPGATHER_NVTX)
  explicit Range(const char* name) {
    nvtxRangePushA(name);
  }
  ~Range() {
    nvtxRangePop();
  }
#else
  explicit constexpr Range(const char*) {}
  constexpr ~Range() {}  // not trivial: a range that is only declared is no unused variable
#endif
  Range(const Range&) = delete;
  Range& operator=(const Range&) = delete;
};

}  // namespace dpgather::detail
