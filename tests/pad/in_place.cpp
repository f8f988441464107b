// InPlace when the stream itself fails, at each point where it can.
#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string_view>
#include <vector>

#include <doctest/doctest.h>

#include <dpgather/pad/in_place.hpp>

namespace {

using dpgather::BatchField;
using dpgather::Forward;
using dpgather::PadCounts;

/// Fails at its n-th submission, as a device stream may; half of the work may be done by then.
class FailingStream {
 public:
  FailingStream(int* left, bool after) : left_(left), after_(after) {}
  template <class Body>
  friend void launch(FailingStream stream, std::string_view name, std::int64_t rows, Body body) {
    const bool fail = (*stream.left_)-- == 0;
    if (fail && !stream.after_) throw std::runtime_error("the device is gone");
    dpgather::launch(dpgather::HostStream{}, name, rows, body);
    if (fail) throw std::runtime_error("the device is gone");
  }

 private:
  int* left_;
  bool after_;
};

struct FailingMemory : dpgather::HostMemory {
  using stream_type = FailingStream;
};

struct Batch {
  BatchField<std::int32_t> ids;
  BatchField<std::int64_t> positions;  // [3, tokens]
  std::vector<std::int32_t> seq_lens;
  std::int64_t batch_size = 0;

  static constexpr auto fields = dpgather::batch_fields(
      dpgather::request_count("batch_size", &Batch::batch_size),
      dpgather::token_field("ids", &Batch::ids),
      dpgather::request_field("seq_lens", &Batch::seq_lens, {.fill = 1}),
      dpgather::token_field("positions", &Batch::positions, {.rows_per = 2}));
};

using Storage = dpgather::BasicInPlace<FailingMemory>;
static_assert(dpgather::BatchStorage<Storage, Batch>);
static_assert(dpgather::BatchStorage<dpgather::InPlace, Batch>);

struct Fixture {
  std::vector<std::int32_t> ids = {1, 2, 30, 40, 50};
  std::vector<std::int64_t> positions;
  Batch batch;
  PadCounts counts{.own = {2, 2}, .padded = {4, 4}, .mode = Forward::decode, .where = {}};

  Fixture() {
    for (int i = 0; i < 30; ++i) positions.push_back(100 + i);
    batch.ids = {.data = ids.data(), .len = 2, .capacity = 5};
    batch.positions = {
        .data = positions.data(), .len = 4, .capacity = 9, .planes = 3, .plane_stride = 10};
    batch.seq_lens.reserve(4);
    batch.seq_lens = {7, 8};
    batch.batch_size = 2;
  }
  [[nodiscard]] bool untouched() const {
    const Fixture fresh;
    return ids == fresh.ids && positions == fresh.positions &&
           batch.seq_lens == fresh.batch.seq_lens && batch.batch_size == 2 && batch.ids.len == 2 &&
           batch.positions.len == 4;
  }
};

int reports = 0;

}  // namespace

TEST_CASE("padding that fails half-way puts back what it had changed") {
  Storage storage;
  int submissions = 0;
  for (const bool after : {false, true}) {
    for (int at = 0;; ++at) {
      Fixture f;
      int left = at;
      bool failed = false;
      try {
        const Storage::Lease<Batch> lease(storage, f.batch, f.counts, FailingStream(&left, after));
        left = 1000;
        CHECK(!f.untouched());
        CHECK(f.batch.positions.len == 8);
      } catch (const std::runtime_error&) {
        failed = true;
      }
      CAPTURE(at);
      CHECK(f.untouched());
      if (!failed) break;
      ++submissions;
    }
  }
  CHECK(submissions == 2 * 5);  // a save and a fill a view, a fill a vector
}

TEST_CASE("restoring that fails is reported, and the other fields come back") {
  Storage storage;
  Fixture f;
  int left = 1000;
  const auto handler = dpgather::destructor_error_handler();
  reports = 0;
  dpgather::destructor_error_handler() = +[](const char* text) noexcept {
    reports += std::string_view(text) == "the device is gone" ? 1 : 1000;
  };
  {
    const Storage::Lease<Batch> lease(storage, f.batch, f.counts, FailingStream(&left, false));
    left = 0;  // positions, the first to be restored
  }
  dpgather::destructor_error_handler() = handler;
  CHECK(reports == 1);
  const Fixture fresh;
  CHECK(f.ids == fresh.ids);
  CHECK(f.batch.seq_lens == fresh.batch.seq_lens);
  CHECK(f.batch.positions.len == 4);
}

TEST_CASE("the scratch grows to what is overwritten, and is kept") {
  dpgather::InPlace storage;
  Fixture f;
  { const dpgather::InPlace::Lease<Batch> lease(storage, f.batch, f.counts, {}); }
  const std::int64_t bytes = storage.scratch_bytes();
  CHECK(bytes >= 2 * 4 + 3 * 4 * 8);
  f.counts.padded = {3, 3};
  { const dpgather::InPlace::Lease<Batch> lease(storage, f.batch, f.counts, {}); }
  CHECK(storage.scratch_bytes() == bytes);
  CHECK(f.untouched());
}

TEST_CASE("a vector that does not hold whole rows is refused") {
  struct Wide {
    std::vector<float> rows;
  };
  static constexpr auto field = dpgather::token_field("rows", &Wide::rows, {.inner = 2});
  Wide batch{{1, 2, 3}};
  CHECK_THROWS_AS(dpgather::detail::check_geometry(0, field, batch, {}), dpgather::InvalidArgument);
}
