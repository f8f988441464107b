// What ncclMemAlloc and the registrations have given out.
#pragma once

#include <string>
#include <vector>

namespace sim::nccl {

/// A line for each window that was not taken back (memory is reported as CUDA's is).
[[nodiscard]] std::vector<std::string> left_of_memory();

}  // namespace sim::nccl
