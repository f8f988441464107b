// What ncclMemAlloc and the registrations have given out.
#pragma once

#include <string>
#include <vector>

namespace sim::nccl {

/// A line for each thing that was not given back.
[[nodiscard]] std::vector<std::string> left_of_memory();

}  // namespace sim::nccl
