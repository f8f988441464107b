// What gather_perf measures on GPUs gives the right values: on simulated ones, and without its clock.
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "gather_perf/gpu_peer.hpp"
#include "nccl_comm/harness.hpp"
#include "sim/launch.hpp"

namespace {

using namespace gather_perf;
using nccl_test::expect;

std::vector<Case> cases_of(int ranks) {
  std::vector<Case> cases;
  for (int w = 0; w <= static_cast<int>(What::back); ++w)
    for (const Spread spread : {Spread::even, Spread::linear, Spread::one_hot})
      for (const bool in_place : {false, true}) {
        const auto what = static_cast<What>(w);
        if (!is_ragged(what) && spread != Spread::even) continue;
        if (what == What::barrier && in_place) continue;
        Case of{.what = what,
                .spread = spread,
                .dtype = dpgather::DType::float32,
                .in_place = in_place,
                .ranks = ranks,
                .width = is_ragged(what) ? 12 : 1};
        of.rows = spread_rows(spread, 11, ranks, {});
        cases.push_back(std::move(of));
      }
  return cases;
}

std::string text_of(const Case& of, Mode mode) {
  return dpgather::concat(name(of.what), " ", name(of.spread), of.in_place ? " in place" : "",
                          is_of_gather(of.what) ? " " : "",
                          is_of_gather(of.what) ? name(mode) : "");
}

/// Returns how many there were.
template <class Comm>
int check_all(Comm& comm, dpgather::CudaStream stream) {
  int checked = 0;
  for (const Case& of : cases_of(comm.size()))
    for (int m = 0; m <= static_cast<int>(Mode::automatic); ++m) {
      const auto mode = static_cast<Mode>(m);
      if (!is_of_gather(of.what) && m > 0) continue;
      const SubjectPtr subject = make_subject(comm, of, mode, stream);
      if (!subject) continue;
      subject->prepare();
      subject->run();
      subject->finish();
      expect(subject->wrong() == 0, text_of(of, mode));
      ++checked;
    }
  return checked;
}

TEST_CASE("every collective and mode over NcclComm") {
  for (const int ranks : {1, 2, 3}) {
    std::vector<int> checked(static_cast<std::size_t>(ranks), 0);
    nccl_test::on_comms(ranks, [&](dpgather::NcclComm<>& comm, dpgather::CudaStream stream) {
      checked[static_cast<std::size_t>(comm.rank())] = check_all(comm, stream);
    });
    // 5 collectives, 2 of them ragged, and 2 ways of a gather in 4 modes; NCCL's ranks have no barrier.
    for (const int n : checked) CHECK(n == (3 + 2 * 3) * 2 + 2 * 3 * 2 * 4);
  }
}

TEST_CASE("every collective and mode over ThreadComm<DeviceMemory>") {
  for (const int ranks : {1, 2, 3}) {
    const auto hub = std::make_shared<dpgather::ThreadHub>(ranks);
    std::vector<int> checked(static_cast<std::size_t>(ranks), 0);
    nccl_test::on_gpus(ranks, [&](int rank) {
      const dpgather::OwnStream stream;
      dpgather::ThreadComm<dpgather::DeviceMemory> comm(hub, rank);
      checked[static_cast<std::size_t>(rank)] = check_all(comm, dpgather::CudaStream(stream));
    });
    // And a barrier, and the two modes that go by peers' memory.
    for (const int n : checked) CHECK(n == (3 + 2 * 3) * 2 + 1 + 2 * 3 * 2 * 6);
  }
}

TEST_CASE("copies within a GPU") {
  nccl_test::on_gpus(2, [](int rank) {
    for (const Case& of : cases_of(2)) {
      if (of.what == What::barrier) continue;
      GpuCopySubject<float> subject(of, rank);
      subject.run();
      subject.finish();
      expect(subject.wrong() == 0, text_of(of, Mode::max_len));
    }
  });
}

}  // namespace
