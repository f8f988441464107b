// What executables of this project may take precompiled.
#include <dpgather/dpgather.hpp>
