// The smallest use: two ranks gather one and two rows.
#include <cstdio>
#include <vector>

#include <dpgather/dpgather.hpp>

int main() {
  dpgather::run_ranks(2, [](dpgather::ThreadComm<>& comm) {
    const std::int64_t counts[] = {1, 2};
    const std::int64_t offsets[] = {0, 1};
    const std::vector<float> own(static_cast<std::size_t>(comm.rank() + 1), comm.rank() + 1.0f);
    std::vector<float> all(3);
    comm.all_gather_v(own.data(), all.data(), counts, offsets, {});
    if (all != std::vector<float>{1, 2, 2}) throw dpgather::Error({}, "wrong rows");
  });
  std::puts("two ranks gathered three rows");
}
