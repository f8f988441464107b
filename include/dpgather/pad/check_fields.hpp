// Everything about a batch that can be wrong is found here, before any field is touched.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include <dpgather/core/error.hpp>
#include <dpgather/pad/batch_field.hpp>
#include <dpgather/pad/fields.hpp>
#include <dpgather/pad/padding.hpp>
#include <dpgather/plan/counts.hpp>

namespace dpgather::detail {

[[nodiscard]] constexpr std::int64_t along(BatchAxis axis, const BatchLens& lens) {
  return axis == BatchAxis::token ? lens.tokens : lens.requests;
}
template <class F>
[[nodiscard]] constexpr std::int64_t rows_of(const F& field, const BatchLens& lens) {
  return along(field.axis, lens) * field.options.rows_per;
}

/// "field 3 'positions'", made only when an error is.
struct FieldLabel {
  std::size_t index;
  std::string_view name;
  [[nodiscard]] std::string to_string() const { return concat("field ", index, " '", name, "'"); }
};
template <class F>
[[nodiscard]] constexpr FieldLabel label(std::size_t index, const F& field) {
  return {index, field.name};
}

template <class F, class T>
[[nodiscard]] auto view_of(const F& field, T& batch) {
  return FieldTraits<typename F::member_type>::view(batch.*field.member, field.options.inner);
}

/// No buffer at all, in a field that may be without.
template <class F, class T>
[[nodiscard]] bool is_absent(const F& field, T& batch) {
  if (!field.options.optional) return false;
  const auto view = view_of(field, batch);
  return view.data == nullptr && view.len == 0 && view.capacity == 0;
}

/// Shape of the memory behind a field.
template <class F, class T>
void check_geometry(std::size_t index, const F& field, T& batch, const ErrorContext& where) {
  using Traits = FieldTraits<typename F::member_type>;
  if constexpr (Traits::owns_elements)
    require(Traits::whole_rows(batch.*field.member, field.options.inner), where,
            label(index, field), " does not hold a whole number of rows of ", field.options.inner,
            " elements");
  const auto view = view_of(field, batch);
  require(view.inner >= 1 && view.planes >= 1 && view.inner <= max_rows / view.planes, where,
          label(index, field), " has ", view.planes, " planes of rows of ", view.inner,
          " elements; both must be at least 1 and their product at most ", max_rows);
  require(view.len >= 0 && view.len <= view.capacity && view.capacity <= max_rows, where,
          label(index, field), " has ", view.len, " rows and capacity ", view.capacity,
          ": 0 <= len <= capacity <= ", max_rows, " must hold");
  require(view.planes == 1 || view.plane_stride >= view.capacity * view.inner, where,
          label(index, field), " has plane_stride ", view.plane_stride, ", ", view.planes,
          " planes of capacity ", view.capacity, " need at least ", view.capacity * view.inner);
  require(view.data != nullptr || view.capacity == 0, where, label(index, field),
          " has no data but capacity ", view.capacity);
}

/// Lens agree with what this rank posted.
template <class F, class T>
void check_len(std::size_t index, const F& field, T& batch, const PadCounts& counts) {
  const std::int64_t len = view_of(field, batch).len;
  const std::int64_t expected = rows_of(field, counts.own);
  require(len == expected, counts.where, label(index, field), " has ", len,
          " rows, this rank posted ", along(field.axis, counts.own), " ", name(field.axis),
          ", which is ", expected, " rows");
}

/// `capacity_of(index, field)` is the room, in rows, of the place that is padded.
template <class T, class CapacityOf>
void check_fields(T& batch, const PadCounts& counts, const CapacityOf& capacity_of) {
  const auto check_array = [&](auto index, const auto& field) {
    if (!field.options.only.contains(counts.mode) || is_absent(field, batch)) return;
    check_geometry(index, field, batch, counts.where);
    check_len(index, field, batch, counts);
  };
  const auto check_room = [&](auto index, const auto& field) {
    if (!field.options.only.contains(counts.mode) || is_absent(field, batch)) return;
    const std::int64_t needed = rows_of(field, counts.padded);
    const std::int64_t capacity = capacity_of(index, field);
    require<CapacityError>(needed <= capacity, counts.where, label(index, field), " needs ", needed,
                           " rows, its capacity is ", capacity);
  };
  const auto check_count = [&](auto index, const auto& field) {
    if (!field.only.contains(counts.mode)) return;
    const auto value = batch.*field.member;
    const std::int64_t padded = along(field.axis, counts.padded);
    require(std::cmp_equal(value, along(field.axis, counts.own)), counts.where, label(index, field),
            " is ", value, ", this rank posted ", along(field.axis, counts.own), " ",
            name(field.axis));
    require<CapacityError>(std::in_range<std::remove_const_t<decltype(value)>>(padded),
                           counts.where, label(index, field), " cannot hold ", padded);
  };
  for_each_field<T>([&](auto index, const auto& field) {
    if constexpr (is_array_field<std::remove_cvref_t<decltype(field)>>)
      check_array(index, field);
    else if constexpr (is_count_field<std::remove_cvref_t<decltype(field)>>)
      check_count(index, field);
  });
  for_each_field<T>([&](auto index, const auto& field) {
    if constexpr (is_array_field<std::remove_cvref_t<decltype(field)>>) check_room(index, field);
  });
}

}  // namespace dpgather::detail
