// Which gathers a cache's graphs may have baked in, and whether they are still there.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

#include <dpgather/core/error.hpp>
#include <dpgather/core/lifeline.hpp>

namespace dpgather::detail {

class GatherWatch {
 public:
  /// `gather` selects a shape. True if one that did so before is gone: it took along buffers and a
  /// communicator that graphs may hold.
  [[nodiscard]] bool lost_any(std::shared_ptr<const Lifeline::State> gather) {
    const auto gone = [](const std::weak_ptr<const Lifeline::State>& known) {
      const auto state = known.lock();
      return !state || !state->alive;
    };
    const bool lost = std::erase_if(known_, gone) > 0;
    const auto same = [&](const auto& known) { return known.lock() == gather; };
    if (std::none_of(known_.begin(), known_.end(), same)) known_.push_back(gather);
    last_ = std::move(gather);
    return lost;
  }
  /// The gather that selected last must have begun the step, or old counts would be used.
  void check_begun(const ErrorContext& where) const {
    const auto gather = last_.lock();
    if (!gather) return;
    require(gather->step == where.step, where, gather->name, " began step ", gather->step,
            ", not this one: call begin_step every step, before run");
  }

 private:
  std::vector<std::weak_ptr<const Lifeline::State>> known_;
  std::weak_ptr<const Lifeline::State> last_;
};

}  // namespace dpgather::detail
