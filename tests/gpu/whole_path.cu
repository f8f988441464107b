// The whole path of the property tests on GPUs: random set-ups, every row on every rank against a
// plain computation, eagerly and in CUDA graphs.
#include <random>

#include <doctest/doctest.h>

#include "gpu/ranks.cuh"
#include "property/whole_path.hpp"
#include "support/seed.hpp"
#include "support/transfer_cuda.hpp"

namespace {

using namespace gpu;

template <class T, class Comm>
void serve(const test::SetUp& set_up, Transport transport) {
  on_ranks<Comm>(set_up.layout, [&](test::RankOf<Comm>& rank) {
    test::WholePath<test::AnyMode, T, Comm, CudaGraphs> path(rank, set_up, {transport});
    abort_on_error(rank.comm, [&] { path.run(); });
  });
}

template <class Comm>
void serve_set_ups(const char* test, int wanted) {
  std::mt19937_64 random(support::seed(test, 20261126));
  for (int served = 0; served < wanted;) {
    test::SetUp set_up = test::SetUp::draw(random);
    const auto transport = test::any_transport<Comm>(random());
    const bool narrow = random() % 2 != 0;
    if (!fits<Comm>(set_up.layout.world())) continue;
    // Inside graphs streams wait for each other, so that they must run at the same time.
    if (short_run() && set_up.layout.world() > 1) set_up.graphs = false;
    INFO("set-up ", served, ": ", set_up.text(), " ", name(transport), narrow ? " bf16" : " float");
    ++served;
    CHECK_NOTHROW((narrow ? serve<bf16, Comm> : serve<float, Comm>)(set_up, transport));
  }
}

}  // namespace

TEST_CASE("every row arrives everywhere and comes back summed, over ThreadComm") {
  serve_set_ups<Threads>("whole path over ThreadComm", short_run() ? 12 : 150);
}
TEST_CASE("every row arrives everywhere and comes back summed, over NCCL") {
  serve_set_ups<Nccl>("whole path over NCCL", short_run() ? 4 : 40);
}
