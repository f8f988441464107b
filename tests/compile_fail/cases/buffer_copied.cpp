// message: (use of deleted function|call to implicitly-deleted copy constructor|deleted)
#include <utility>

#include <dpgather/core/memory.hpp>

dpgather::Buffer<int> moved(dpgather::Buffer<int>& from) {
  return std::move(from);
}
dpgather::Buffer<int> copied(dpgather::Buffer<int>& from) {  // wrong
  return from;                                               // wrong
}  // wrong
