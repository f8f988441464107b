// message: DPGATHER_CHECKS is 0 \(free\), 1 \(local\) or 2 \(communicating\)
#define DPGATHER_CHECKS 2
#undef DPGATHER_CHECKS     // wrong
#define DPGATHER_CHECKS 3  // wrong
#include <dpgather/core/config.hpp>
