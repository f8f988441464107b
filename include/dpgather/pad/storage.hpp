// The Storage concept: where a batch is padded, and what happens to it afterwards.
#pragma once

#include <concepts>

#include <dpgather/pad/fields.hpp>
#include <dpgather/pad/padding.hpp>

namespace dpgather {

/// A long-lived object. Its `Lease<T>` pads in its constructor and undoes it in its destructor, so
/// that an exception on any path leaves the caller's batch as it was; `lease.batch()` is the batch
/// as padded. One lease of a storage lives at a time. The constructor throws before it changes
/// anything, or puts back what it changed.
template <class S, class T>
concept BatchStorage = DescribedBatch<T> &&
    requires(S& storage, T& batch, const PadCounts& counts, typename S::stream_type stream,
             typename S::template Lease<T>& lease) {
  typename S::memory_type;
  { lease.batch() } -> std::same_as<T&>;
  requires std::constructible_from<typename S::template Lease<T>, S&, T&, const PadCounts&,
                                   typename S::stream_type>;
};

namespace detail {

/// Marks a storage as in use for as long as it lives.
class InUse {
 public:
  InUse(bool& flag, const char* storage, const ErrorContext& where) : flag_(flag) {
    require(!flag, where, "this ", storage,
            " is in use by another PaddedBatch; two that live at once need two storages");
    flag_ = true;
  }
  ~InUse() { flag_ = false; }
  InUse(const InUse&) = delete;
  InUse& operator=(const InUse&) = delete;

 private:
  bool& flag_;
};

}  // namespace detail
}  // namespace dpgather
