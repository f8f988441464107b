// message: RoundUp<N>: N rows, at least 1
#include <dpgather/plan/rounding.hpp>

std::int64_t good = dpgather::RoundUp<1>{}(5);
std::int64_t bad = dpgather::RoundUp<0>{}(5);  // wrong
