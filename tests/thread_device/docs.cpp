// The function of docs/thread_device.md, as it stands there.
#include <doctest/doctest.h>

#include "snippet_thread_device.inc"
#include "thread_device/support.hpp"

using namespace thread_device;

TEST_CASE("the function of the docs sums, at once and in a graph") {
  const auto hub = std::make_shared<dpgather::ThreadHub>(3);
  sim::run({.ranks = 3}, [&](int rank) {
    const Stream stream;
    Data<float> rows(100), sums(100);
    rows.set(sent<float>(rank, 100), stream);
    sum_on_gpu(hub, rank, rows.data(), sums.data(), 100, stream.get());
    same(sums.now(stream), summed<float>(3, 0, 100), "sums");
  });
}
