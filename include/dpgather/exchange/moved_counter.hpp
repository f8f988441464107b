// Counts the elements that each call of a gather moves, at every launch of it.
#pragma once

#include <cstdint>

#include <dpgather/exchange/gather_config.hpp>

namespace dpgather::detail {

class MovedCounter {
 public:
  [[nodiscard]] RowsMoved moved() const { return moved_; }
  /// `body` issues work on `stream`, for which `comm` counts; what is added to `total` of RowsMoved.
  template <class Comm, class Stream, class Body>
  void count(Comm& comm, Stream stream, std::uint64_t RowsMoved::*total, const Body& body) {
    stream.on_launch([this, &comm] { mark_ = comm.elements_moved(); });
    body();
    stream.on_launch([this, &comm, total] { moved_.*total += comm.elements_moved() - mark_; });
  }

 private:
  RowsMoved moved_;
  std::uint64_t mark_ = 0;
};

}  // namespace dpgather::detail
