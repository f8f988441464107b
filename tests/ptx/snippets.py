"""Kernels written by hand, in the manner of nvcc."""

NAME = "_ZN8dpgather6detail8run_rowsINS0_{}{}INS_4bf16EEEEEvT_li"


def kernel(body, kind="CopyRow"):
    """A file with one kernel of the library, whose body is `kind<bf16>`."""
    name = NAME.format(len(kind), kind)
    return f"""
.version 9.0
.target sm_90
.address_size 64
	// .globl	{name}
.visible .entry {name}(
	.param .align 8 .b8 {name}_param_0[48], // a brace in a comment: {{
	.param .u64 {name}_param_1
)
.maxntid 256, 1, 1
{{
	.reg .pred 	%p<9>;
	.reg .b64 	%rd<30>;
{body}
}}
"""


# Before the rows 3 instructions, one a division. In a row: 2 to see whether 16-byte pieces may be used, of which the first is
# moved alone by 5 (and its branch), others by twos, in a loop of 11; or elements, by a loop of 5. Then 3 to the next row.
COPY = kernel("""
	ld.param.u64 	%rd1, [a_param_0];
	div.u32 	%r2, %r3, %r4;
	mov.u64 	%rd2, %rd1;

$L_row:
	setp.eq.s64 	%p1, %rd2, 0;
	@%p1 bra 	$L_elements;

	add.s64 	%rd3, %rd1, %rd2;
	ld.global.v4.u32 	{%r5, %r6, %r7, %r8}, [%rd3];
	st.global.v4.u32 	[%rd4], {%r5, %r6, %r7, %r8};
	setp.lt.s64 	%p2, %rd3, %rd9;
	@%p2 bra 	$L_next;

$L_pieces:
	ld.global.v2.u64 	{%rd10, %rd11}, [%rd3];
	st.global.v2.u64 	[%rd4], {%rd10, %rd11};
	add.s64 	%rd12, %rd3, 16;
	add.s64 	%rd13, %rd4, 16;
	ld.global.nc.v4.f32 	{%f1, %f2, %f3, %f4}, [%rd12];
	st.global.v4.f32 	[%rd13], {%f1, %f2, %f3, %f4};
	add.s64 	%rd3, %rd12, 16;
	add.s64 	%rd4, %rd13, 16;
	sub.s64 	%rd14, %rd14, 2;
	setp.ne.s64 	%p3, %rd14, 0;
	@%p3 bra 	$L_pieces;
	bra.uni 	$L_next;

$L_elements:
	ld.global.u16 	%rs1, [%rd3];
	st.global.u16 	[%rd4], %rs1;
	add.s64 	%rd3, %rd3, 2;
	setp.lt.s64 	%p4, %rd3, %rd5;
	@%p4 bra 	$L_elements;

$L_next:
	add.s64 	%rd2, %rd2, 1;
	setp.lt.s64 	%p5, %rd2, %rd6;
	@%p5 bra 	$L_row;
	ret;
""")

# A search among counts before each row, then a sum over ranks: 16 bytes of each, added in pairs and stored once.
SUM = kernel("""
	mov.u64 	%rd1, 0;
$L_row:
	ld.volatile.global.u32 	%r9, [%rd28];
	mov.u64 	%rd2, 0;
$L_search:
	ld.global.u64 	%rd3, [%rd2];
	setp.gt.s64 	%p1, %rd3, %rd1;
	selp.b64 	%rd2, %rd4, %rd2, %p1;
	@%p1 bra 	$L_search;
	ld.global.v4.u32 	{%r1, %r2, %r3, %r4}, [%rd5];
	mov.b32 	%f1, %r1;
$L_ranks:
	ld.global.u64 	%rd7, [%rd8];
	ld.global.v4.u32 	{%r5, %r6, %r7, %r8}, [%rd7];
	shl.b32 	%r10, %r5, 16;
	mov.b32 	%f2, %r10;
	add.f32 	%f1, %f1, %f2;
	add.s64 	%rd8, %rd8, 8;
	setp.lt.s64 	%p2, %rd8, %rd9;
	@%p2 bra 	$L_ranks;
	mov.b32 	%r11, %f1;
	setp.gt.u32 	%p3, %r11, 7;
	selp.b32 	%r12, %r11, %r10, %p3;
	st.global.v4.u32 	[%rd10], {%r12, %r12, %r12, %r12};
	add.s64 	%rd1, %rd1, 1;
	setp.lt.s64 	%p4, %rd1, %rd11;
	@%p4 bra 	$L_row;
	ret;
""", "SumRanks")
