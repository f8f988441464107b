"""Reading what nvcc makes of the library's kernels: `kernels` compiles them and names them, `flow` has their basic blocks
and loops, `cost` counts."""
