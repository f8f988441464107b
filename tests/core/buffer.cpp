#include <cmath>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include <doctest/doctest.h>

#include <dpgather/core/element.hpp>
#include <dpgather/core/memory.hpp>

#include "support/allocations.hpp"

using dpgather::Buffer;
using dpgather::HostMemory;

namespace {

/// Counts what is live, to see that each allocation is freed once.
struct CountingMemory {
  using stream_type = dpgather::HostStream;
  using visible_type = CountingMemory;
  static void zero(void* data, std::size_t bytes) { std::memset(data, 0, bytes); }
  static constexpr std::size_t alignment = HostMemory::alignment;
  static inline int live = 0;
  static void* allocate(std::size_t bytes) {
    ++live;
    return HostMemory::allocate(bytes);
  }
  static void deallocate(void* data) noexcept {
    --live;
    HostMemory::deallocate(data);
  }
};

}  // namespace

TEST_CASE_TEMPLATE("a fresh host buffer is NaN, so that an unwritten row is seen", T, float, double,
                   dpgather::bf16, dpgather::fp16) {
  const Buffer<T> buffer(37);
  REQUIRE(buffer.span().size() == 37);
  int numbers = 0;
  for (const T value : buffer.span()) {
    if constexpr (sizeof(T) == 2)
      numbers += std::isnan(static_cast<float>(value)) ? 0 : 1;
    else
      numbers += std::isnan(value) ? 0 : 1;
  }
  CHECK(numbers == 0);
}

TEST_CASE("host buffers are aligned for 16-byte accesses and more") {
  for (const std::int64_t count : {1, 3, 257}) {
    const Buffer<std::int32_t> buffer(count);
    CHECK(reinterpret_cast<std::uintptr_t>(buffer.data()) % HostMemory::alignment == 0);
    CHECK(buffer.span()[static_cast<std::size_t>(count - 1)] == -1);
  }
}

TEST_CASE("an empty buffer owns nothing") {
  const auto before = support::allocations_of_this_thread();
  const Buffer<float> none;
  const Buffer<float> zero(0);
  CHECK(support::allocations_of_this_thread() == before);
  CHECK(none.data() == nullptr);
  CHECK(zero.data() == nullptr);
  CHECK(zero.size() == 0);
  CHECK(zero.span().empty());
}

TEST_CASE("a negative or impossible element count is refused with its value") {
  // Volatile: gcc warns of the size of an allocation that is never reached.
  volatile std::int64_t negative = -1;
  CHECK_THROWS_WITH_AS(Buffer<float>{negative},
                       "[Buffer] element count -1 is negative or too large",
                       dpgather::InvalidArgument);
  volatile std::int64_t huge = std::numeric_limits<std::int64_t>::max() / 4 + 1;
  CHECK_THROWS_AS(Buffer<float>{huge}, dpgather::InvalidArgument);
}

TEST_CASE("moving a buffer keeps the address and frees once") {
  {
    Buffer<float, CountingMemory> first(8);
    float* const address = first.data();
    Buffer<float, CountingMemory> second(std::move(first));
    CHECK(second.data() == address);
    CHECK(second.size() == 8);
    Buffer<float, CountingMemory> third(2);
    CHECK(CountingMemory::live == 2);
    third = std::move(second);
    CHECK(third.data() == address);
    CHECK(third.size() == 8);
  }
  CHECK(CountingMemory::live == 0);
}

TEST_CASE("a buffer is seen as rows") {
  const Buffer<float> buffer(12);
  const auto view = buffer.rows(3, 4);
  CHECK(view.data() == buffer.data());
  CHECK(view.rows() == 3);
  CHECK(view.width() == 4);
  CHECK(view.contiguous());
}
