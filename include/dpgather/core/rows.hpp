// A view of token rows.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <type_traits>

#include <dpgather/core/config.hpp>

namespace dpgather {

/// One number a rank, in rank order.
using Counts = std::span<const std::int64_t>;

/// Non-owning view of `[rows, width]` elements; row `i` starts at `data + i * stride`.
/// Units: `rows` in rows, `width` (the hidden size H) and `stride` in elements.
template <class T>
class Rows {
 public:
  using element_type = T;

  Rows() = default;
  DPGATHER_HD constexpr Rows(T* data, std::int64_t rows, std::int64_t width)
      : Rows(data, rows, width, width) {}
  DPGATHER_HD constexpr Rows(T* data, std::int64_t rows, std::int64_t width, std::int64_t stride)
      : data_(data), rows_(rows), width_(width), stride_(stride) {}

  /// A view of mutable rows is a view of constant rows.
  template <class U>
  requires std::is_same_v<T, const U> DPGATHER_HD constexpr Rows(Rows<U> other)
      : Rows(other.data(), other.rows(), other.width(), other.stride()) {}

  [[nodiscard]] DPGATHER_HD constexpr T* data() const { return data_; }
  [[nodiscard]] DPGATHER_HD constexpr std::int64_t rows() const { return rows_; }
  [[nodiscard]] DPGATHER_HD constexpr std::int64_t width() const { return width_; }
  [[nodiscard]] DPGATHER_HD constexpr std::int64_t stride() const { return stride_; }
  [[nodiscard]] DPGATHER_HD constexpr std::int64_t size() const { return rows_ * width_; }
  [[nodiscard]] DPGATHER_HD constexpr bool empty() const { return rows_ == 0; }
  [[nodiscard]] DPGATHER_HD constexpr bool contiguous() const {
    return stride_ == width_ || rows_ <= 1;
  }
  [[nodiscard]] DPGATHER_HD constexpr T* row(std::int64_t i) const { return data_ + i * stride_; }
  [[nodiscard]] DPGATHER_HD constexpr T& operator()(std::int64_t i, std::int64_t j) const {
    return data_[i * stride_ + j];
  }
  /// Rows `[first, first + count)`; the caller keeps it inside the view.
  [[nodiscard]] DPGATHER_HD constexpr Rows slice(std::int64_t first, std::int64_t count) const {
    return Rows(row(first), count, width_, stride_);
  }

 private:
  T* data_ = nullptr;
  std::int64_t rows_ = 0;
  std::int64_t width_ = 0;
  std::int64_t stride_ = 0;
};

template <class T>
Rows(T*, std::int64_t, std::int64_t) -> Rows<T>;

static_assert(std::is_trivially_copyable_v<Rows<float>>);

}  // namespace dpgather
