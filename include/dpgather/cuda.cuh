// Everything for a .cu file: the library on CUDA streams, with kernels.
#pragma once

#include <dpgather/core/cuda/launch.cuh>
#include <dpgather/core/cuda/launch_wait.cuh>
#include <dpgather/cuda.hpp>
