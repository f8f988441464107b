// message: SumLen<PeerStore> needs a communicator whose ranks reach each other's memory
#include <dpgather/dp_gather.hpp>

using namespace dpgather;

/// ThreadComm without what peers' memory takes.
struct Apart : ThreadComm<> {
  using ThreadComm<>::ThreadComm;
  [[nodiscard]] Apart split(int, int) { return Apart(nullptr, 0); }
  void barrier(HostStream) = delete;
};

void use(DpGather<SumLen<AllReduce>, float, Apart>& gather, const ShapeKey& shape) {
  static_cast<void>(gather.slot(shape));
}
void use(DpGather<SumLen<PeerStore>, float, Apart>& gather, const ShapeKey& shape) {  // wrong
  static_cast<void>(gather.slot(shape));                                              // wrong
}  // wrong
