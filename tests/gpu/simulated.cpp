// The tests of graphs and of passenger mode on simulated GPUs: what a GPU is to run is right itself.
#define DPGATHER_GPU_SIMULATED
#include "gpu/graphs.cu"
#include "gpu/passenger.cu"
