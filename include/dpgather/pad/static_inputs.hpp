// StaticInputs storage: the batch at addresses that never change, as captured graphs need it.
#pragma once

#include <cstdint>
#include <tuple>
#include <type_traits>
#include <utility>

#include <dpgather/core/error.hpp>
#include <dpgather/core/memory.hpp>
#include <dpgather/core/stream.hpp>
#include <dpgather/pad/check_fields.hpp>
#include <dpgather/pad/elements.hpp>
#include <dpgather/pad/fields.hpp>
#include <dpgather/pad/storage.hpp>

namespace dpgather {

/// Holds a T whose listed fields live in buffers of its own, with room for `largest`. A lease
/// copies the caller's fields in and fills the tails; the caller's batch is only read, and what is
/// written to the held batch is not copied back. A field that the forward mode does not use, or
/// that is absent, has len 0. Members that are not listed keep what they had in `prototype`.
///
/// All addresses stay for the life of the object. Rows of a buffer beyond the padded len are left
/// over from earlier steps: a graph reads the len it was captured at. Captured code says
/// `inputs.hold(stream)`, so that a replay after this object is gone is refused.
template <DescribedBatch T, MemorySpace Memory = HostMemory>
class StaticInputs {
 public:
  using memory_type = Memory;
  using stream_type = typename Memory::stream_type;

  /// `prototype` gives each view's inner size and planes, and unlisted members; its data is not
  /// read. Allocates once, here.
  explicit StaticInputs(BatchLens largest, T prototype = {})
      : largest_(largest), held_(std::move(prototype)) {
    require(largest.tokens >= 0 && largest.tokens <= max_rows && largest.requests >= 0 &&
                largest.requests <= max_rows,
            where, "largest lens are ", largest.tokens, " tokens and ", largest.requests,
            " requests, must be 0 to ", max_rows);
    detail::for_each_field<T>([this](auto index, const auto& field) {
      if constexpr (detail::is_array_field<std::remove_cvref_t<decltype(field)>>)
        allocate(index, field, std::get<index>(buffers_));
    });
  }
  StaticInputs(const StaticInputs&) = delete;
  StaticInputs& operator=(const StaticInputs&) = delete;

  /// The batch as a graph is captured over it: the same object for life, lens as last padded.
  [[nodiscard]] T& batch() { return held_; }
  [[nodiscard]] const BatchLens& largest() const { return largest_; }
  void hold(const stream_type& stream) const { stream.hold(lifeline_); }

  template <class U>
  class Lease {
    static_assert(std::is_same_v<U, T>, "StaticInputs<T> pads a batch of type T");

   public:
    Lease(StaticInputs& storage, T& batch, const PadCounts& counts, stream_type stream)
        : in_use_(storage.in_use_, "StaticInputs", counts.where), held_(storage.held_) {
      require(&batch != &held_, counts.where, "the batch is the one that StaticInputs holds");
      detail::check_fields(batch, counts, [&storage](auto, const auto& field) {
        return detail::rows_of(field, storage.largest_);
      });
      storage.check_alike(batch, counts);
      detail::for_each_field<T>(
          [&](auto, const auto& field) { storage.load(field, batch, counts, stream); });
    }
    ~Lease() = default;
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    [[nodiscard]] T& batch() const { return held_; }

   private:
    detail::InUse in_use_;
    T& held_;
  };

 private:
  static constexpr ErrorContext where{.operation = "StaticInputs"};

  struct Nothing {};
  template <class F>
  struct BufferOf {
    using type = Nothing;
  };
  template <class M>
  struct BufferOf<ArrayField<T, M>> {
    using type = std::conditional_t<FieldTraits<M>::owns_elements, Nothing,
                                    Buffer<typename FieldTraits<M>::element, Memory>>;
  };
  template <class Fields>
  struct BufferTuple;
  template <class... F>
  struct BufferTuple<std::tuple<F...>> {
    using type = std::tuple<typename BufferOf<F>::type...>;
  };

  template <class F, class B>
  void allocate(std::size_t index, const F& field, B& buffer) {
    using Traits = FieldTraits<typename F::member_type>;
    auto& member = held_.*field.member;
    const std::int64_t capacity = detail::rows_of(field, largest_);
    static_assert(
        std::is_same_v<typename Memory::visible_type, HostMemory> || !Traits::owns_elements,
        "a field that owns host memory cannot be held on a device");
    if constexpr (Traits::owns_elements) {
      Traits::resize(member, 0, field.options.inner);
      Traits::reserve(member, capacity, field.options.inner);
    } else {
      auto view = detail::view_of(field, held_);
      require(view.inner >= 1 && view.planes >= 1 && view.inner <= max_rows / view.planes &&
                  capacity <= max_rows,
              where, detail::label(index, field), " needs ", view.planes, " planes of ", capacity,
              " rows of ", view.inner, " elements; none may be below 1, the rows at most ",
              max_rows, ", planes * elements too");
      buffer = B(view.planes * capacity * view.inner);
      view.data = buffer.data();
      view.len = 0;
      view.capacity = capacity;
      view.plane_stride = capacity * view.inner;
      Traits::set(member, view);
    }
  }

  /// Rows have the same shape in the caller's fields as here.
  void check_alike(T& batch, const PadCounts& counts) {
    detail::for_each_field<T>([&](auto index, const auto& field) {
      if constexpr (detail::is_array_field<std::remove_cvref_t<decltype(field)>>) {
        if (!field.options.only.contains(counts.mode)) return;
        const auto from = detail::view_of(field, batch);
        const auto to = detail::view_of(field, held_);
        require(from.len == 0 || (from.inner == to.inner && from.planes == to.planes), counts.where,
                detail::label(index, field), " has ", from.planes, " planes of rows of ",
                from.inner, " elements, StaticInputs was made for ", to.planes, " of ", to.inner);
      }
    });
  }

  template <class M>
  void load(const ArrayField<T, M>& field, T& batch, const PadCounts& counts,
            const stream_type& stream) {
    const bool used = field.options.only.contains(counts.mode) &&
                      (counts.own == BatchLens{} || !detail::is_absent(field, batch));
    const std::int64_t last = used ? detail::rows_of(field, counts.padded) : 0;
    detail::set_field_len(held_.*field.member, last, field.options.inner);
    if (!used) return;
    const auto from = detail::view_of(field, batch);
    const auto to = detail::view_of(field, held_);
    using E = typename FieldTraits<M>::element;
    detail::launch_chunks(stream, "pad_load", to.planes, last * to.inner,
                          detail::CopyAndFill<E>{from, to, from.len * to.inner,
                                                 field.options.fill_for(counts.mode, batch)});
  }
  template <class M>
  void load(const CountField<T, M>& field, T& batch, const PadCounts& counts, const stream_type&) {
    held_.*field.member = field.only.contains(counts.mode)
                              ? static_cast<M>(detail::along(field.axis, counts.padded))
                              : batch.*field.member;
  }
  template <class M>
  void load(const CarriedField<T, M>& field, T& batch, const PadCounts&, const stream_type&) {
    held_.*field.member = batch.*field.member;
  }

  BatchLens largest_;
  T held_;
  typename BufferTuple<detail::FieldTuple<T>>::type buffers_;
  Lifeline lifeline_{"StaticInputs"};
  bool in_use_ = false;
};

}  // namespace dpgather
