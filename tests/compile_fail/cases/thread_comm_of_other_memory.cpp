// message: ThreadComm moves host memory
#include <dpgather/comm/thread.hpp>

struct Elsewhere : dpgather::HostMemory {};
int good(dpgather::ThreadComm<dpgather::HostMemory>& comm) {
  return comm.rank();
}
int bad(dpgather::ThreadComm<Elsewhere>& comm) {  // wrong
  return comm.rank();                             // wrong
}  // wrong
