#include <cstdio>

#include "unit.hpp"

int main() {
  const Unit one = unit_one();
  const Unit two = unit_two();
  auto check = [failures = 0](bool good, const char* what) mutable {
    if (!good) std::printf("not so: %s\n", what), ++failures;
    return failures;
  };
  check(one.shared_object == two.shared_object, "an inline function's object is shared");
  check(*one.communicator != *two.communicator, "check levels make different types");
  check(one.gathered_sum(3) == 3 * 6, "the unit with free checks gathers");
  return check(two.gathered_sum(3) == 3 * 6, "the unit with communicating checks gathers");
}
