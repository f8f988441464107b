// The CUDA path for host compilers: streams, memory and graphs. What starts kernels is in cuda.cuh.
#pragma once

#include <dpgather/agree/agreement.hpp>
#include <dpgather/core/cuda/memory.hpp>
#include <dpgather/core/cuda/own_stream.hpp>
#include <dpgather/core/cuda/stream.hpp>
#include <dpgather/dp_gather.hpp>
#include <dpgather/graph/cuda/cuda_graphs.hpp>
#include <dpgather/graph_cache.hpp>
#include <dpgather/padded_batch.hpp>
