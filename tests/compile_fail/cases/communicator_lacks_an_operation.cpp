// message: Communicator
#include <dpgather/dp_gather.hpp>

// All but reduce_scatter_v.
struct Partial {
  using memory_type = dpgather::HostMemory;
  static constexpr auto checks = dpgather::CheckLevel::free;
  int rank() const { return 0; }
  int size() const { return 1; }
  void all_gather(const float*, float*, std::int64_t, dpgather::HostStream) {}
  void all_reduce(const float*, float*, std::int64_t, dpgather::HostStream) {}
  void reduce_scatter(const float*, float*, std::int64_t, dpgather::HostStream) {}
  void broadcast(float*, std::int64_t, int, dpgather::HostStream) {}
  void all_gather_v(const float*, float*, dpgather::Counts, dpgather::Counts,
                    dpgather::HostStream) {}
  template <class F>
  void group(F&& f) {
    f();
  }
  Partial split(int, int) { return {}; }
  void abort(std::string_view) {}
  void check() {}
  void set_step(std::int64_t) {}
  std::uint64_t elements_moved() const { return 0; }
};
struct Whole : Partial {
  void reduce_scatter_v(const float*, float*, dpgather::Counts, dpgather::Counts,
                        dpgather::HostStream) {}
  Whole split(int, int) { return {}; }
};
using Good = dpgather::DpGather<dpgather::MaxLen, float, Whole>;
using Bad = dpgather::DpGather<dpgather::MaxLen, float, Partial>;  // wrong
