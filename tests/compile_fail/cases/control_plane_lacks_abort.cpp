// message: ControlPlane
#include <dpgather/agree/agreement.hpp>
#include <dpgather/comm/thread.hpp>

struct Plane {
  int rank() const { return 0; }
  int size() const { return 1; }
  void post(std::span<const std::byte>) {}
  void wait(std::span<std::byte>) {}
};
using Good = dpgather::StepAgreement<dpgather::ThreadControl>;
using Bad = dpgather::StepAgreement<Plane>;  // wrong
