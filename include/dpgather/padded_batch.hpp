// PaddedBatch: a rank's batch at the lens of a step's shape, for as long as the guard lives.
#pragma once

#include <cstdint>
#include <string_view>
#include <type_traits>
#include <utility>

#include <dpgather/agree/step.hpp>
#include <dpgather/core/error.hpp>
#include <dpgather/core/rows.hpp>
#include <dpgather/core/stream.hpp>
#include <dpgather/pad/fields.hpp>
#include <dpgather/pad/in_place.hpp>
#include <dpgather/pad/padding.hpp>
#include <dpgather/pad/static_inputs.hpp>
#include <dpgather/pad/storage.hpp>
#include <dpgather/plan/shape_key.hpp>
#include <dpgather/trim/output_rows.hpp>
#include <dpgather/trim/trim_compact.hpp>
#include <dpgather/trim/trim_view.hpp>

namespace dpgather {

template <PaddingPolicy Padding = PadToShape, TrimPolicy Trim = TrimView, class Stream = HostStream>
struct PadOptions {
  int phase = 0;  ///< of the step: draft, verify and extend may be agreed at once
  Padding padding = {};
  Trim trim = {};
  Stream stream = {};  ///< element work runs on it; not a capturing one
};

/// Pads `batch` for this step's `shape` and, in its destructor, gives the caller's batch back as
/// `storage` says, whatever happened in between. `batch()` is what the model reads.
///
/// Throws, with nothing changed: CapacityError if a field, or the shape, is too short for the
/// padded lens; InvalidArgument if a field's len is not what this rank posted for the step. In
/// steady state nothing is allocated. `batch`, `storage` and the stream outlive this object; the
/// step need not. Make it before capture or replay, not inside: a graph would bake the addresses of
/// this step's batch.
template <class T, PaddingPolicy Padding = PadToShape, TrimPolicy Trim = TrimView,
          class Storage = InPlace>
class [[nodiscard]] PaddedBatch {
  static_assert(!std::is_const_v<T>, "PaddedBatch changes the batch for a while: it is not const");
  static_assert(DescribedBatch<T>,
                "list the batch's fields once: `static constexpr auto fields = "
                "dpgather::batch_fields(dpgather::token_field(\"ids\", &Batch::ids), ...)` as its "
                "last member, or specialise dpgather::BatchFields");
  static_assert(BatchStorage<Storage, T>, "the storage is InPlace, StaticInputs<T> or like them");

 public:
  using batch_type = T;
  using stream_type = typename Storage::stream_type;
  using Options = PadOptions<Padding, Trim, stream_type>;

  PaddedBatch(T& batch, const Step& step, const ShapeKey& shape, Storage& storage,
              Options options = {})
      : shape_(shape),
        own_{.forward = step.own_forward(options.phase),
             .tokens = step.own_tokens(options.phase),
             .requests = step.own_requests(options.phase),
             .width = shape.width},
        trim_(std::move(options.trim)),
        stream_(options.stream),
        counts_(counts_of(options.padding, step)),
        lease_(storage, batch, counts_, stream_) {}
  PaddedBatch(const PaddedBatch&) = delete;
  PaddedBatch& operator=(const PaddedBatch&) = delete;

  /// The batch as padded: every listed field has its padded len and defined padding rows.
  [[nodiscard]] T& batch() const { return lease_.batch(); }
  [[nodiscard]] const ShapeKey& shape() const { return shape_; }
  /// Mode whose fills were used: an idle rank takes the step's.
  [[nodiscard]] Forward mode() const { return counts_.mode; }
  [[nodiscard]] std::int64_t tokens() const { return counts_.padded.tokens; }
  [[nodiscard]] std::int64_t requests() const { return counts_.padded.requests; }
  [[nodiscard]] std::int64_t own_tokens() const { return own_.tokens; }
  [[nodiscard]] std::int64_t own_requests() const { return own_.requests; }

  /// Rows of an output that are this rank's own.
  [[nodiscard]] std::int64_t output_rows(Output output = Output::by_mode) const {
    return dpgather::output_rows(own_, output);
  }
  /// An output `[>= n, H]` cut to this rank's own n rows.
  template <class U>
  [[nodiscard]] Rows<U> trim(Rows<U> rows, Output output = Output::by_mode) const {
    return trim_(own_, rows, output, where("trim"));
  }
  /// Valid rows of per-request slots, copied to `out`: what TrimCompact says.
  template <class U, RequestCounts Valid>
  [[nodiscard]] Rows<std::remove_const_t<U>> trim(Rows<U> slots, const Valid& valid,
                                                  Rows<std::remove_const_t<U>> out) const {
    static_assert(
        requires { trim_(own_, slots, valid, out, where("trim"), stream_); },
        "this trim policy has no compaction: use PadOptions<Padding, TrimCompact>");
    return trim_(own_, slots, valid, out, where("trim"), stream_);
  }

 private:
  [[nodiscard]] ErrorContext where(std::string_view operation) const {
    return {.rank = rank_, .step = index_, .operation = operation};
  }
  [[nodiscard]] PadCounts counts_of(const Padding& padding, const Step& step) {
    rank_ = step.rank();
    index_ = step.index();
    require(!stream_.capturing(), where("pad"),
            "the stream is capturing; pad before capture, a graph would bake this batch");
    return pad_counts(
        padding,
        {.own = {own_.tokens, own_.requests}, .shape = shape_, .attn_tp = step.layout().attn_tp},
        own_.forward, where("pad"));
  }

  int rank_ = -1;
  std::int64_t index_ = -1;
  ShapeKey shape_;
  OwnRows own_;
  Trim trim_;
  stream_type stream_;
  PadCounts counts_;
  typename Storage::template Lease<T> lease_;
};

template <class T, class Storage, class Padding, class Trim, class Stream>
PaddedBatch(T&, const Step&, const ShapeKey&, Storage&, PadOptions<Padding, Trim, Stream>)
    -> PaddedBatch<T, Padding, Trim, Storage>;

}  // namespace dpgather
