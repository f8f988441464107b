// message: Element
#include <dpgather/comm/thread.hpp>

void gather(dpgather::ThreadComm<>& comm) {
  float number[4] = {};
  comm.all_gather(number, number, 1, {});
  char text[4] = {};                   // wrong
  comm.all_gather(text, text, 1, {});  // wrong
}
