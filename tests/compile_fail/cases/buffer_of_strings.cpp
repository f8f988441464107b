// message: Buffer holds plain elements only
#include <string>

#include <dpgather/core/memory.hpp>

dpgather::Buffer<int> numbers(4);
dpgather::Buffer<std::string> texts(4);  // wrong
