#define DPGATHER_CHECKS 2
#include "everything.hpp"

Unit unit_two() {
  return describe();
}
