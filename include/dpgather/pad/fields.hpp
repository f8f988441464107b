// The list of a batch's fields: one line a field, written once.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string_view>
#include <tuple>
#include <type_traits>
#include <utility>

#include <dpgather/core/error.hpp>
#include <dpgather/pad/batch_field.hpp>
#include <dpgather/plan/counts.hpp>
#include <dpgather/plan/forward.hpp>

namespace dpgather {

/// What the rows of a field are counted by.
enum class BatchAxis : std::uint8_t { token, request };

[[nodiscard]] constexpr std::string_view name(BatchAxis axis) {
  return axis == BatchAxis::token ? "tokens" : "requests";
}

/// A set of forward modes, `{Forward::extend, Forward::mixed}`.
class ForwardSet {
 public:
  constexpr ForwardSet() = default;
  constexpr ForwardSet(std::initializer_list<Forward> modes) {
    for (const Forward mode : modes) bits_ |= bit(mode);
  }
  [[nodiscard]] static constexpr ForwardSet all() {
    ForwardSet set;
    set.bits_ = (1u << forward_count) - 1u;
    return set;
  }
  [[nodiscard]] constexpr bool contains(Forward mode) const { return (bits_ & bit(mode)) != 0; }

 private:
  static constexpr std::uint32_t bit(Forward mode) { return 1u << static_cast<unsigned>(mode); }
  std::uint32_t bits_ = 0;
};

/// Fills that differ from a field's usual one, `{{Forward::target_verify, 7}}`.
template <class E>
class ModeFills {
 public:
  struct Entry {
    Forward mode;
    E fill;
  };
  constexpr ModeFills() = default;
  constexpr ModeFills(std::initializer_list<Entry> entries) {
    for (const Entry& entry : entries) {
      set_ |= 1u << static_cast<unsigned>(entry.mode);
      fills_[static_cast<std::size_t>(entry.mode)] = entry.fill;
    }
  }
  /// Null if the mode has the field's usual fill.
  [[nodiscard]] constexpr const E* find(Forward mode) const {
    const auto i = static_cast<std::size_t>(mode);
    return (set_ >> i & 1u) != 0 ? &fills_[i] : nullptr;
  }

 private:
  std::array<E, static_cast<std::size_t>(forward_count)> fills_{};
  std::uint32_t set_ = 0;
};

/// What a field needs beyond its axis; T is the batch, E the field's element.
template <class T, class E>
struct FieldOptions {
  E fill{};                             ///< value of every element of a padding row
  E T::*fill_from = nullptr;            ///< member of the batch that holds the fill; beats `fill`
  ModeFills<E> fill_in = {};            ///< fills of single forward modes; beat both
  std::int64_t rows_per = 1;            ///< rows of this field per token, or per request
  std::int64_t inner = 1;               ///< elements per row of a std::vector; a view has its own
  ForwardSet only = ForwardSet::all();  ///< other modes leave the field alone
  bool optional = false;  ///< may be absent: a view without data, an unreserved vector

  [[nodiscard]] constexpr E fill_for(Forward mode, const T& batch) const {
    if (const E* special = fill_in.find(mode)) return *special;
    return fill_from != nullptr ? batch.*fill_from : fill;
  }
};

template <class T, FieldMember M>
struct ArrayField {
  using member_type = M;
  using element = typename FieldTraits<M>::element;
  std::string_view name;
  M T::*member;
  BatchAxis axis;
  FieldOptions<T, element> options;
};

template <class T, std::integral M>
struct CountField {
  std::string_view name;
  M T::*member;
  BatchAxis axis;
  ForwardSet only;
};

template <class T, class M>
struct CarriedField {
  std::string_view name;
  M T::*member;
};

namespace detail {

/// A wrong option does not compile where the list is constexpr.
template <class T, FieldMember M>
[[nodiscard]] constexpr ArrayField<T, M> array_field(
    std::string_view field_name, M T::*member, BatchAxis axis,
    const FieldOptions<T, typename FieldTraits<M>::element>& options) {
  if (options.inner < 1 || options.inner > max_rows || options.rows_per < 1 ||
      options.rows_per > max_rows)
    throw InvalidArgument(
        {.operation = "batch_fields"},
        concat("field '", field_name, "' is listed with inner ", options.inner, " and rows_per ",
               options.rows_per, ", each must be 1 to ", max_rows));
  return {field_name, member, axis, options};
}

}  // namespace detail

/// A field with one row a token (times `rows_per`).
template <class T, FieldMember M>
[[nodiscard]] constexpr ArrayField<T, M> token_field(
    std::string_view field_name, M T::*member,
    FieldOptions<T, typename FieldTraits<M>::element> options = {}) {
  return detail::array_field(field_name, member, BatchAxis::token, options);
}
/// A field with one row a request (times `rows_per`).
template <class T, FieldMember M>
[[nodiscard]] constexpr ArrayField<T, M> request_field(
    std::string_view field_name, M T::*member,
    FieldOptions<T, typename FieldTraits<M>::element> options = {}) {
  return detail::array_field(field_name, member, BatchAxis::request, options);
}
/// A number that says how many token rows the batch has.
template <class T, std::integral M>
[[nodiscard]] constexpr CountField<T, M> token_count(std::string_view field_name, M T::*member,
                                                     ForwardSet only = ForwardSet::all()) {
  return {field_name, member, BatchAxis::token, only};
}
/// A number that says how many requests the batch has (its batch size).
template <class T, std::integral M>
[[nodiscard]] constexpr CountField<T, M> request_count(std::string_view field_name, M T::*member,
                                                       ForwardSet only = ForwardSet::all()) {
  return {field_name, member, BatchAxis::request, only};
}
/// A member that has no axis: StaticInputs copies it by assignment, padding leaves it alone.
template <class T, class M>
[[nodiscard]] constexpr CarriedField<T, M> carried_field(std::string_view field_name,
                                                         M T::*member) {
  return {field_name, member};
}

template <class... Fields>
[[nodiscard]] constexpr std::tuple<Fields...> batch_fields(Fields... fields) {
  static_assert(sizeof...(Fields) > 0, "a batch has at least one field");
  return std::tuple<Fields...>(fields...);
}

/// Where the list is found: `static constexpr auto fields = batch_fields(...)` as the last member
/// of the batch. Specialise this, with such a member, for a struct that is not yours to change.
template <class T>
struct BatchFields {};

template <class T>
requires requires {
  T::fields;
}
struct BatchFields<T> {
  static constexpr const auto& fields = T::fields;
};

/// A struct whose fields are listed.
template <class T>
concept DescribedBatch = !std::is_const_v<T> && requires {
  BatchFields<T>::fields;
};

namespace detail {

template <class F>
inline constexpr bool is_array_field = false;
template <class T, class M>
inline constexpr bool is_array_field<ArrayField<T, M>> = true;
template <class F>
inline constexpr bool is_count_field = false;
template <class T, class M>
inline constexpr bool is_count_field<CountField<T, M>> = true;

template <class T>
using FieldTuple = std::remove_cvref_t<decltype(BatchFields<T>::fields)>;
template <class T>
inline constexpr std::size_t field_count = std::tuple_size_v<FieldTuple<T>>;
template <class T, std::size_t I>
using FieldAt = std::tuple_element_t<I, FieldTuple<T>>;

/// Calls `f(std::integral_constant<std::size_t, I>, field)` for each field, in order.
template <class T, class F>
constexpr void for_each_field(F&& f) {
  [&]<std::size_t... I>(std::index_sequence<I...>) {
    (f(std::integral_constant<std::size_t, I>{}, std::get<I>(BatchFields<T>::fields)), ...);
  }
  (std::make_index_sequence<field_count<T>>{});
}

}  // namespace detail
}  // namespace dpgather
