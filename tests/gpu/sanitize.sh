#!/bin/sh
# usage: sanitize.sh COMPUTE_SANITIZER TOOL PROGRAM...
# A short run of each program under one tool of compute-sanitizer.
sanitizer=$1 tool=$2
shift 2
"$1" --no-run || exit $? # 77, and the reason, without a GPU
export DPGATHER_GPU_SHORT=1
for program; do
  "$sanitizer" --tool "$tool" --error-exitcode 1 "$program" || exit 1
done
