// message: MemorySpace
#include <dpgather/core/memory.hpp>

struct Nowhere {};
dpgather::Buffer<int, dpgather::HostMemory> good;
dpgather::Buffer<int, Nowhere> bad;  // wrong
