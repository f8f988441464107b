// InPlace storage: pads inside the caller's buffers and puts everything back.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <exception>
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

/// Pads within each field's capacity. Afterwards lens, counts, views and the values that padding
/// rows overwrote are the caller's again, bit for bit; own rows keep what was written to them in
/// between. The scratch for overwritten values grows to the largest padding seen and is kept, so
/// that a steady state allocates nothing. One lease at a time, on one thread. On a device all leases
/// use one stream, which outlives this object.
template <MemorySpace Memory>
class BasicInPlace {
 public:
  using memory_type = Memory;
  using stream_type = typename Memory::stream_type;

  BasicInPlace() = default;
  /// With room for `bytes` of overwritten values from the start.
  explicit BasicInPlace(std::int64_t bytes) : scratch_(bytes) {}
  BasicInPlace(const BasicInPlace&) = delete;
  BasicInPlace& operator=(const BasicInPlace&) = delete;

  [[nodiscard]] std::int64_t scratch_bytes() const { return scratch_.size(); }

  template <class T>
  class Lease {
   public:
    Lease(BasicInPlace& storage, T& batch, const PadCounts& counts, stream_type stream)
        : in_use_(storage.in_use_, "InPlace", counts.where), batch_(batch), stream_(stream) {
      detail::check_fields(batch, counts, [&batch](auto, const auto& field) {
        return detail::view_of(field, batch).capacity;
      });
      place_scratch(storage, counts);
      try {
        detail::for_each_field<T>([&, this](auto index, const auto& field) {
          pad_field(field, std::get<index>(saved_), counts);
        });
      } catch (...) {
        restore();
        throw;
      }
    }
    ~Lease() { restore(); }
    Lease(const Lease&) = delete;
    Lease& operator=(const Lease&) = delete;

    [[nodiscard]] T& batch() const { return batch_; }

   private:
    struct Nothing {};
    template <class E>
    struct SavedArray {
      bool touched = false;
      BatchField<E> view;  // as it was
      std::int64_t padded = 0;
      E* tail = nullptr;  // overwritten values, in the scratch; null if they are nobody's
    };
    template <class M>
    struct SavedCount {
      bool touched = false;
      M value = 0;
    };
    template <class F>
    struct SavedOf {
      using type = Nothing;
    };
    template <class M>
    struct SavedOf<ArrayField<T, M>> {
      using type = SavedArray<typename FieldTraits<M>::element>;
    };
    template <class M>
    struct SavedOf<CountField<T, M>> {
      using type = SavedCount<M>;
    };
    template <class Fields>
    struct SavedTuple;
    template <class... F>
    struct SavedTuple<std::tuple<F...>> {
      using type = std::tuple<typename SavedOf<F>::type...>;
    };

    /// Gives each field its part of the scratch, which may grow: the last thing that can fail
    /// before fields are touched.
    void place_scratch(BasicInPlace& storage, const PadCounts& counts) {
      for (const bool assign : {false, true}) {
        std::int64_t used = 0;
        detail::for_each_field<T>([&](auto index, const auto& field) {
          using F = std::remove_cvref_t<decltype(field)>;
          if constexpr (detail::is_array_field<F>) {
            static_assert(std::is_same_v<typename Memory::visible_type, HostMemory> ||
                              !FieldTraits<typename F::member_type>::owns_elements,
                          "a field that owns host memory cannot be padded on a device");
            using E = typename F::element;
            auto& saved = std::get<index>(saved_);
            if (!field.options.only.contains(counts.mode) || detail::is_absent(field, batch_))
              return;
            saved.view = detail::view_of(field, batch_);
            saved.padded = detail::rows_of(field, counts.padded);
            if constexpr (!FieldTraits<typename F::member_type>::owns_elements) {
              const std::int64_t elements =
                  (saved.padded - saved.view.len) * saved.view.inner * saved.view.planes;
              used = round_up(used, alignof(E));
              if (assign) saved.tail = reinterpret_cast<E*>(storage.scratch_.data() + used);
              used += elements * static_cast<std::int64_t>(sizeof(E));
            }
          }
        });
        if (used > storage.scratch_.size()) storage.grow(used, stream_);
      }
    }

    template <class M>
    void pad_field(const ArrayField<T, M>& field,
                   SavedArray<typename FieldTraits<M>::element>& saved, const PadCounts& counts) {
      if (!field.options.only.contains(counts.mode) || detail::is_absent(field, batch_)) return;
      const auto fill = field.options.fill_for(counts.mode, batch_);
      const std::int64_t first = saved.view.len;
      const std::int64_t last = saved.padded;
      using E = typename FieldTraits<M>::element;
      const std::int64_t count = (last - first) * saved.view.inner;
      // Apart from the fill: a launch that fails has then either saved all, or changed nothing.
      if constexpr (!FieldTraits<M>::owns_elements)
        detail::launch_chunks(stream_, "pad_save", saved.view.planes, count,
                              detail::Save<E>{saved.view, first, saved.tail, count});
      saved.touched = true;
      detail::set_field_len(batch_.*field.member, last, field.options.inner);
      const auto view = detail::view_of(field, batch_);
      detail::launch_chunks(stream_, "pad_fill", view.planes, count,
                            detail::Fill<E>{view, first, fill});
    }
    template <class M>
    void pad_field(const CountField<T, M>& field, SavedCount<M>& saved, const PadCounts& counts) {
      if (!field.only.contains(counts.mode)) return;
      saved = {true, batch_.*field.member};
      batch_.*field.member = static_cast<M>(detail::along(field.axis, counts.padded));
    }
    template <class M>
    void pad_field(const CarriedField<T, M>&, Nothing&, const PadCounts&) {}

    template <class M>
    void restore_field(const ArrayField<T, M>& field,
                       const SavedArray<typename FieldTraits<M>::element>& saved) {
      if (!saved.touched) return;
      if constexpr (FieldTraits<M>::owns_elements) {
        FieldTraits<M>::resize(batch_.*field.member, saved.view.len, field.options.inner);
      } else {
        FieldTraits<M>::set(batch_.*field.member, saved.view);
        const auto& view = saved.view;
        const std::int64_t count = (saved.padded - view.len) * view.inner;
        using E = typename FieldTraits<M>::element;
        detail::launch_chunks(stream_, "pad_restore", view.planes, count,
                              detail::Restore<E>{view, view.len, saved.tail, count});
      }
    }
    template <class M>
    void restore_field(const CountField<T, M>& field, const SavedCount<M>& saved) {
      if (saved.touched) batch_.*field.member = saved.value;
    }
    template <class M>
    void restore_field(const CarriedField<T, M>&, const Nothing&) {}

    /// Last field first: fields may share memory.
    template <std::size_t I>
    void restore_at() noexcept {
      try {
        restore_field(std::get<I>(BatchFields<T>::fields), std::get<I>(saved_));
      } catch (const std::exception& error) {
        destructor_error_handler()(error.what());
      }
    }
    void restore() noexcept {
      [this]<std::size_t... I>(std::index_sequence<I...>) {
        (this->template restore_at<sizeof...(I) - 1 - I>(), ...);
      }
      (std::make_index_sequence<detail::field_count<T>>{});
    }

    detail::InUse in_use_;
    T& batch_;
    stream_type stream_;
    typename SavedTuple<detail::FieldTuple<T>>::type saved_;
  };

 private:
  /// In stream order where the space can: earlier work may still use what is replaced.
  void grow(std::int64_t needed, [[maybe_unused]] stream_type stream) {
    const std::int64_t bytes = std::max(needed, 2 * scratch_.size());
    if constexpr (StreamOrderedMemory<Memory>)
      scratch_ = Buffer<std::byte, Memory>(bytes, stream);
    else
      scratch_ = Buffer<std::byte, Memory>(bytes);
  }

  Buffer<std::byte, Memory> scratch_;
  bool in_use_ = false;
};

using InPlace = BasicInPlace<HostMemory>;

}  // namespace dpgather
