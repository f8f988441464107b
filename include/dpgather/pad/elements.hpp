// Element work of padding: plain bodies over an index, and the host loop that runs them.
#pragma once

#include <cstdint>

#include <dpgather/core/config.hpp>
#include <dpgather/pad/batch_field.hpp>

namespace dpgather::detail {

/// Element i becomes the fill, whatever it was.
template <class E>
struct FillElement {
  E* data;
  E fill;
  DPGATHER_HD void operator()(std::int64_t i) const { data[i] = fill; }
};

template <class E>
struct CopyElement {
  const E* from;
  E* to;
  DPGATHER_HD void operator()(std::int64_t i) const { to[i] = from[i]; }
};

template <class Body>
void for_each_index(std::int64_t count, const Body& body) {
  for (std::int64_t i = 0; i < count; ++i) body(i);
}

/// Rows `[first, last)` of every plane.
template <class E>
void fill_rows(const BatchField<E>& field, std::int64_t first, std::int64_t last, E fill) {
  for (std::int64_t p = 0; p < field.planes; ++p)
    for_each_index((last - first) * field.inner, FillElement<E>{field.row(first, p), fill});
}

/// First `rows` rows of every plane; both fields have the same inner size and planes.
template <class E>
void copy_rows(const BatchField<E>& from, const BatchField<E>& to, std::int64_t rows) {
  for (std::int64_t p = 0; p < from.planes; ++p)
    for_each_index(rows * from.inner, CopyElement<E>{from.row(0, p), to.row(0, p)});
}

/// Rows `[first, last)` of every plane to and from `dense`, `[planes, last - first, inner]`.
template <class E>
void save_rows(const BatchField<E>& field, std::int64_t first, std::int64_t last, E* dense) {
  const std::int64_t count = (last - first) * field.inner;
  for (std::int64_t p = 0; p < field.planes; ++p)
    for_each_index(count, CopyElement<E>{field.row(first, p), dense + p * count});
}
template <class E>
void restore_rows(const BatchField<E>& field, std::int64_t first, std::int64_t last,
                  const E* dense) {
  const std::int64_t count = (last - first) * field.inner;
  for (std::int64_t p = 0; p < field.planes; ++p)
    for_each_index(count, CopyElement<E>{dense + p * count, field.row(first, p)});
}

}  // namespace dpgather::detail
