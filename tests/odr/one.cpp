#define DPGATHER_CHECKS 0
#include "everything.hpp"

Unit unit_one() {
  return describe();
}
