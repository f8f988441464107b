#!/bin/sh
# A rank that fails ends the whole job at once, with an exit code and, if it can, its reason.
# Usage: fatal.sh throw|unwind|exit MPIRUN TEST_PROGRAM
how=$1 mpirun=$2 program=$3
output=$("$mpirun" -np 2 "$program" --fail "$how" 2>&1)
code=$?
echo "$output"
echo "exit code $code"
if [ "$code" -eq 0 ]; then
  echo "FAILED: the exit code says success"
  exit 1
fi
case $output in
*"rank 0 went on"* | *"got past MpiEnvironment"*)
  echo "FAILED: a rank went on as if nothing had happened"
  exit 1
  ;;
esac
if [ "$how" = throw ]; then
  case $output in
  *"rank 1: planned failure"*) ;;
  *)
    echo "FAILED: the reason is not in the output"
    exit 1
    ;;
  esac
fi
exit 0
