// What a rank says in its user bytes.
#pragma once

#include <cstdint>
#include <cstring>

#include <dpgather/agree/record.hpp>

namespace serve_trace {

/// What a rank tells all others once a step, beyond its counts.
struct Notice {
  std::int64_t prefill_rows = 0;
  std::int64_t idle = 0;  ///< 1: nothing waits or runs here

  [[nodiscard]] dpgather::UserBytes bytes() const {
    dpgather::UserBytes bytes{};
    std::memcpy(bytes.data(), this, sizeof(*this));
    return bytes;
  }
  [[nodiscard]] static Notice from(const dpgather::UserBytes& bytes) {
    Notice notice;
    std::memcpy(&notice, bytes.data(), sizeof(notice));
    return notice;
  }
};
static_assert(sizeof(Notice) == sizeof(dpgather::UserBytes));

}  // namespace serve_trace
