// message: (invocable|not satisfied)
#include <dpgather/core/stream.hpp>

void run(dpgather::HostStream stream) {
  stream.submit("good", [] {});
  stream.submit("bad", 3);  // wrong
}
