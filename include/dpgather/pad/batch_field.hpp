// What a field of the user's batch may be: a view with room to grow, or a std::vector.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <type_traits>
#include <vector>

#include <dpgather/core/config.hpp>
#include <dpgather/core/rows.hpp>

namespace dpgather {

/// Non-owning field `[planes, len, inner]` with room for `capacity` rows. Element (p, row, j) is
/// `data[p * plane_stride + row * inner + j]`. Units: `len` and `capacity` in rows, `inner` and
/// `plane_stride` in elements. One plane for most; mrope positions are `[3, tokens]`: 3 planes,
/// with `plane_stride >= capacity * inner`, so that every plane has the same room.
template <class E>
struct BatchField {
  E* data = nullptr;
  std::int64_t len = 0;
  std::int64_t capacity = 0;
  std::int64_t inner = 1;
  std::int64_t planes = 1;
  std::int64_t plane_stride = 0;

  [[nodiscard]] DPGATHER_HD constexpr E* row(std::int64_t i, std::int64_t plane = 0) const {
    return data + plane * plane_stride + i * inner;
  }
  /// The rows in use, `[len, inner]`.
  [[nodiscard]] DPGATHER_HD constexpr Rows<E> rows(std::int64_t plane = 0) const {
    return Rows<E>(row(0, plane), len, inner);
  }
};

/// How a member of the batch is read and changed. Specialise it for a tensor type of your own as
/// BatchField's is below: `view` says where the elements are, `set` makes the member show what a
/// view says. With `owns_elements`, nothing beyond `len` belongs to anybody, and `resize` and
/// `reserve` take the place of `set`.
template <class M>
struct FieldTraits;

template <class E>
struct FieldTraits<BatchField<E>> {
  static_assert(!std::is_const_v<E>, "BatchField<const E> cannot be padded");
  using element = E;
  static constexpr bool owns_elements = false;

  [[nodiscard]] static BatchField<E> view(BatchField<E>& field, std::int64_t /*inner*/) {
    return field;
  }
  static void set(BatchField<E>& field, const BatchField<E>& view) { field = view; }
};

/// A vector is resized within its capacity and never reallocated. `inner` comes from the list of
/// fields.
template <class E>
struct FieldTraits<std::vector<E>> {
  static_assert(!std::is_same_v<E, bool>, "std::vector<bool> has no elements to point at");
  using element = E;
  static constexpr bool owns_elements = true;

  [[nodiscard]] static BatchField<E> view(std::vector<E>& field, std::int64_t inner) {
    return {.data = field.data(),
            .len = static_cast<std::int64_t>(field.size()) / inner,
            .capacity = static_cast<std::int64_t>(field.capacity()) / inner,
            .inner = inner};
  }
  [[nodiscard]] static bool whole_rows(const std::vector<E>& field, std::int64_t inner) {
    return static_cast<std::int64_t>(field.size()) % inner == 0;
  }
  static void resize(std::vector<E>& field, std::int64_t rows, std::int64_t inner) {
    field.resize(static_cast<std::size_t>(rows * inner));
  }
  static void reserve(std::vector<E>& field, std::int64_t rows, std::int64_t inner) {
    field.reserve(static_cast<std::size_t>(rows * inner));
  }
};

/// A member that holds rows of plain elements.
template <class M>
concept FieldMember = requires(M& member) {
  typename FieldTraits<M>::element;
  { FieldTraits<M>::owns_elements } -> std::convertible_to<bool>;
  {
    FieldTraits<M>::view(member, std::int64_t{})
    } -> std::same_as<BatchField<typename FieldTraits<M>::element>>;
}
&&std::is_trivially_copyable_v<typename FieldTraits<M>::element>;

static_assert(FieldMember<BatchField<float>> && FieldMember<std::vector<int>> && !FieldMember<int>);

namespace detail {

template <FieldMember M>
void set_field_len(M& member, std::int64_t rows, std::int64_t inner) {
  if constexpr (FieldTraits<M>::owns_elements) {
    FieldTraits<M>::resize(member, rows, inner);
  } else {
    auto view = FieldTraits<M>::view(member, inner);
    view.len = rows;
    FieldTraits<M>::set(member, view);
  }
}

}  // namespace detail
}  // namespace dpgather
