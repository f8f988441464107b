// Counts the elements that each call of a gather moves, at every launch of it.
#pragma once

#include <cstdint>

#include <dpgather/exchange/gather_config.hpp>

namespace dpgather::detail {

class MovedCounter {
 public:
  [[nodiscard]] RowsMoved moved() const { return moved_; }
  /// `body` issues work on `stream`, for which `parts` count; what is added to `total` of RowsMoved.
  template <class Parts, class Stream, class Body>
  void count(Parts& parts, Stream stream, std::uint64_t RowsMoved::*total, const Body& body) {
    stream.on_launch([this, &parts] { mark_ = parts.elements_moved(); });
    body();
    stream.on_launch([this, &parts, total] { moved_.*total += parts.elements_moved() - mark_; });
  }

 private:
  RowsMoved moved_;
  std::uint64_t mark_ = 0;
};

}  // namespace dpgather::detail
