"""Executes a kernel's PTX, one thread after the other: what is right about memory and counts can be seen without a GPU.

PTX ISA, "Instruction Set". Threads do not meet in these kernels, so their order does not matter. Registers are integers of the
width that wrote them; floats are kept as their bits.
"""

import re
import struct

from ptx.flow import blocks_of
from ptx.kernels import BadInput

ADDRESS = re.compile(r"\[([%$\w]+)(?:\+(-?\d+))?\]$")
COMPARE = {"eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b,
           "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b}
BOOLEAN = {"and": lambda a, b: a & b, "or": lambda a, b: a | b, "xor": lambda a, b: a ^ b}


def to_float(bits):
    return struct.unpack("<f", struct.pack("<I", bits & 0xffffffff))[0]


def from_float(value):
    return struct.unpack("<I", struct.pack("<f", value))[0]


def divide(a, b):
    """Towards zero."""
    return abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


INTEGER = {**BOOLEAN, "add": lambda a, b: a + b, "sub": lambda a, b: a - b, "mul": lambda a, b: a * b, "div": divide,
           "rem": lambda a, b: a - divide(a, b) * b, "min": min, "max": max}


class Memory:
    """Global memory: what was not allocated cannot be accessed."""

    def __init__(self):
        self.begin, self.bytes = 1 << 32, bytearray()

    def place(self, content, shift=0):
        """Address of a copy of `content`, `shift` bytes above a multiple of 256."""
        self.bytes += bytes(-len(self.bytes) % 256 + 256 + shift)
        self.bytes += content
        return self.begin + len(self.bytes) - len(content)

    def at(self, address, size):
        start = address - self.begin
        if start < 0 or start + size > len(self.bytes):
            raise BadInput(f"PTX: {size} bytes at address {address} are not of any buffer")
        if address % size:
            raise BadInput(f"PTX: {size} bytes at address {address} are not aligned")
        return slice(start, start + size)


class Machine:
    """A kernel with its arguments: bytes of each."""

    def __init__(self, text, arguments, memory):
        self.blocks = blocks_of(text)
        self.where = {label: number for number, block in enumerate(self.blocks) for label in block.labels}
        self.arguments = {}
        self.params, self.memory = b"", memory
        for name, content in zip(re.findall(r"\.param [^,)]*?(\w+_param_\d+)", text), arguments):
            self.params += bytes(-len(self.params) % 16)
            self.arguments[name] = len(self.params)
            self.params += content

    def run(self, special):
        """Numbers of the blocks that one thread goes through; `special` are values of %tid.x and the like."""
        self.registers, at, way = dict(special), 0, []
        while True:
            way.append(at)
            last = None
            for last in self.blocks[at].instructions:
                if last.name not in ("bra", "ret"):
                    if last.guard:
                        raise BadInput(f"PTX: {last.opcode} under a predicate is not executed here")
                    self.execute(last)
            goes = last is not None and self.holds(last.guard)
            if last is not None and last.name == "ret" and goes:
                return way
            at = self.where[last.operands[0]] if last is not None and last.name == "bra" and goes else at + 1

    def holds(self, guard):
        return not guard or bool(self.registers[guard.lstrip("!")]) != guard.startswith("!")

    def value(self, operand):
        if operand in self.arguments:
            return self.arguments[operand]
        if operand.startswith("%"):
            return self.registers[operand]
        if operand.startswith("0f"):
            return int(operand[2:], 16)
        return int(operand, 0)

    def execute(self, instruction):
        opcode, operands = instruction.opcode.split("."), instruction.operands
        name, kind = opcode[0], opcode[-1]
        width = int(re.sub(r"\D", "", kind) or 1)

        def number(operand, kind=kind, width=width):
            value = int(self.value(operand)) & ((1 << width) - 1)
            return value - (1 << width) if kind.startswith("s") and value >> (width - 1) else value

        def give(value, width=width):
            self.registers[operands[0]] = value & ((1 << width) - 1)

        if name in ("ld", "st"):
            self.access(name, opcode, operands, width // 8)
        elif name == "setp":
            holds = int(COMPARE[opcode[1]](number(operands[1]), number(operands[2])))
            self.registers[operands[0]] = BOOLEAN[opcode[2]](holds, self.registers[operands[3]]) if len(opcode) == 4 else holds
        elif name == "selp":
            give(number(operands[1] if self.registers[operands[3]] else operands[2]))
        elif name == "mov" and "{" in operands[0] + operands[1]:
            many, one = (operands[0], operands[1]) if "{" in operands[0] else (operands[1], operands[0])
            parts = [part.strip() for part in many.strip("{}").split(",")]
            each = width // len(parts)
            if many == operands[1]:
                give(sum(number(part, "b", each) << i * each for i, part in enumerate(parts)))
            else:
                for i, part in enumerate(parts):
                    self.registers[part] = number(one) >> i * each & ((1 << each) - 1)
        elif name in ("mov", "cvta"):
            give(number(operands[1]), 64 if name == "cvta" else width)
        elif name == "cvt":
            give(number(operands[1]), int(re.sub(r"\D", "", opcode[1])))
        elif name == "add" and kind == "f32":
            give(from_float(to_float(number(operands[1])) + to_float(number(operands[2]))))
        elif name in ("mul", "mad") and opcode[1] in ("lo", "wide"):
            product = number(operands[1]) * number(operands[2])
            more = width * 2 if opcode[1] == "wide" else width
            give(product + (number(operands[3], kind, more) if name == "mad" else 0), more)
        elif name == "shl":
            give(number(operands[1]) << min(int(self.value(operands[2])) & 0xffffffff, width))
        elif name == "shr":
            give(number(operands[1]) >> min(int(self.value(operands[2])) & 0xffffffff, width))
        elif name in ("not", "neg"):
            give(~number(operands[1]) if name == "not" else -number(operands[1]))
        elif name == "bfi":
            start, length = (int(self.value(operand)) & 0xff for operand in operands[3:5])
            mask = (1 << length) - 1 << start
            give(number(operands[2]) & ~mask | number(operands[1]) << start & mask)
        elif name == "prmt" and len(opcode) == 2:
            eight = (number(operands[1]) | number(operands[2]) << 32).to_bytes(8, "little")
            picks = [number(operands[3]) >> 4 * i & 15 for i in range(4)]
            if any(pick > 7 for pick in picks):
                raise BadInput("PTX: prmt of signs is not executed here")
            give(int.from_bytes(bytes(eight[pick] for pick in picks), "little"))
        elif name in INTEGER and kind[0] in "subp":
            give(INTEGER[name](number(operands[1]), number(operands[2])))
        else:
            raise BadInput(f"PTX: {instruction.opcode} is not executed here")

    def access(self, name, opcode, operands, size):
        where, values = (operands[1], operands[0]) if name == "ld" else (operands[0], operands[1])
        found = ADDRESS.match(where)
        address = self.value(found.group(1)) + int(found.group(2) or 0)
        parts = [part.strip() for part in values.strip("{}").split(",")]
        if "param" in opcode:
            content = self.params[address:address + size * len(parts)]
        else:
            span = self.memory.at(address, size * len(parts))
            if name == "st":
                values = [int(self.value(part)) & ((1 << 8 * size) - 1) for part in parts]
                self.memory.bytes[span] = b"".join(value.to_bytes(size, "little") for value in values)
                return
            content = self.memory.bytes[span]
        for i, part in enumerate(parts):
            self.registers[part] = int.from_bytes(content[i * size:(i + 1) * size], "little")
