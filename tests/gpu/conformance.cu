// The conformance suite on real GPUs, as one translation unit: instantiating communicators for a device
// is most of what compiling it costs.
#define CONFORMANCE_GPU
#define CONFORMANCE_NCCL
#include "conformance/captures.cpp"
#include "conformance/collectives.cpp"
#include "conformance/composition.cpp"
#include "conformance/failures.cpp"
#include "conformance/v_collectives.cpp"
