#!/bin/sh
# usage: nccl_ffn.sh MPIRUN PROGRAM
# The example on all GPUs of this host, in every mode and type.
gpus=$(nvidia-smi -L 2>/dev/null | grep -c '^GPU ')
if [ "$gpus" -eq 0 ]; then
  echo "skipped: nvidia-smi lists no GPU"
  exit 77
fi
[ "$gpus" -le 8 ] || gpus=8
try() {
  echo "== $*"
  "$mpirun" -np "$gpus" "$program" --steps 200 "$@" || exit 1
}
mpirun=$1 program=$2
for mode in auto max_len sum_len; do try --mode "$mode"; done
try --type float --layers 2
[ $((gpus % 2)) -eq 1 ] || try --attn-tp 2
