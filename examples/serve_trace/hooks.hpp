// Where a test may reach into the serving loop and spoil rows, to see that the check catches it.
#pragma once

#include <cstdint>
#include <functional>

#include <dpgather/core/rows.hpp>

namespace serve_trace {

enum class Stage : std::uint8_t {
  produced,  ///< attention's output in the gather's slot, [local_len, H]
  gathered,  ///< rows of all ranks, [global_len, H]
  computed,  ///< this rank's partial sums, [global_len, H]
  returned,  ///< this rank's output, [local_len, H]
};

/// Runs on every rank where the model runs, in captured graphs too; `rank` is the rank in the world.
/// On a simulated GPU it is a kernel: it must not throw.
using Tamper =
    std::function<void(Stage stage, int rank, std::int64_t step, dpgather::Rows<float> rows)>;

/// Called after each step with the steps and the token rows served so far.
using OnStep = std::function<void(std::int64_t steps, std::int64_t rows)>;

struct Hooks {
  Tamper tamper;   ///< none: nothing is spoilt
  OnStep on_step;  ///< on rank 0
};

}  // namespace serve_trace
