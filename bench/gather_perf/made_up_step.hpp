// The step that a gather runs on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>
#include <vector>

#include <dpgather/agree/agreement.hpp>
#include <dpgather/comm/callable_control.hpp>

#include "case.hpp"

namespace gather_perf {

/// The step that all ranks would agree on, without any of them.
class MadeUpStep {
 public:
  MadeUpStep(const Case& of, int rank)
      : control_(rank, of.ranks, Echo{of.rows}), agreement_(control_, {.dp = of.ranks}) {
    const std::int64_t rows = of.rows[static_cast<std::size_t>(rank)];
    agreement_.post(
        dpgather::Phase{.tokens = rows,
                        .requests = rows,
                        .forward = rows > 0 ? dpgather::Forward::decode : dpgather::Forward::idle});
    step_ = agreement_.wait();
  }
  [[nodiscard]] const dpgather::Step& step() const { return step_; }

 private:
  struct Echo {
    std::vector<std::int64_t> rows;
    void operator()(std::span<const std::byte> mine, std::span<std::byte> all) const {
      dpgather::detail::StepRecord record;
      std::memcpy(static_cast<void*>(&record), mine.data(), sizeof record);
      for (std::size_t rank = 0; rank < rows.size(); ++rank) {
        record.rank = static_cast<std::int32_t>(rank);
        auto& phase = record.phase[0];
        phase.tokens = phase.requests = phase.logits = rows[rank];
        phase.forward = rows[rank] > 0 ? dpgather::Forward::decode : dpgather::Forward::idle;
        std::memcpy(all.data() + rank * sizeof record, &record, sizeof record);
      }
    }
  };
  dpgather::CallableControl<Echo> control_;
  dpgather::StepAgreement<dpgather::CallableControl<Echo>> agreement_;
  dpgather::Step step_;
};

}  // namespace gather_perf
