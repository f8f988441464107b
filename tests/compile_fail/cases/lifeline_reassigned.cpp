// message: deleted
#include <utility>

#include <dpgather/core/stream.hpp>

void replace(dpgather::Lifeline& one) {
  dpgather::Lifeline moved(std::move(one));
  moved = dpgather::Lifeline("other");  // wrong
}
