"""Basic blocks and natural loops of a kernel's PTX.

PTX ISA, "Control Flow Instructions": a branch ends a block, a label begins one; under a predicate it may fall through.
Loops: Aho, Lam, Sethi, Ullman, "Compilers", 9.6 (back edges go to a block that dominates theirs).
"""

import re
from dataclasses import dataclass, field

from .kernels import BadInput

STATEMENT = re.compile(r"(?P<guard>@!?%\w+\s+)?(?P<opcode>[a-z][\w:]*(?:\.[\w:]+)*)(?:\s+(?P<operands>.*))?$", re.DOTALL)
LABEL = re.compile(r"([$%\w]+)\s*:(?!:)\s*")
REGISTER = re.compile(r"%[A-Za-z_]+\d+\b")
ENDS = {"ret", "exit", "trap"}


@dataclass(frozen=True)
class Instruction:
    opcode: str  # with its suffixes: 'ld.global.v4.u32'
    operands: tuple  # of strings; '{...}' and '[...]' are one each
    guard: str  # '', '%p1' or '!%p1'

    @property
    def name(self):
        return self.opcode.split(".")[0]


@dataclass
class Block:
    labels: list
    instructions: list = field(default_factory=list)
    after: list = field(default_factory=list)  # numbers of the blocks that may follow


@dataclass(frozen=True)
class Loop:
    header: int
    latches: tuple  # blocks that branch back to the header
    blocks: frozenset
    inside: tuple  # headers of the loops inside


def split_operands(text):
    """'%r1, {%r2, %r3}, [%rd1+4]' in three."""
    operands, depth, at = [], 0, ""
    for c in text or "":
        depth += (c in "{[(") - (c in "}])")
        if c == "," and depth == 0:
            operands.append(at.strip())
            at = ""
        else:
            at += c
    return tuple(operands + [at.strip()]) if at.strip() else tuple(operands)


def statements(text):
    """Yields ('label', name), ('targets', list of labels) or ('instruction', Instruction) of what lies in the outermost braces."""
    text = re.sub(r"/\*.*?\*/|//[^\n]*", " ", text, flags=re.DOTALL)
    begin = text.find("{")
    if begin < 0:
        raise BadInput("PTX: a kernel has no body")
    depth, at = 0, begin
    while at < len(text):
        if text[at].isspace():
            at += 1
        elif text[at] in "{}":
            depth += 1 if text[at] == "{" else -1
            at += 1
            if depth == 0:
                return
        elif label := LABEL.match(text, at):
            yield "label", label.group(1)
            at = label.end()
        else:
            end = text.find(";", at)
            if end < 0:
                break
            line, at = text[at:end].strip(), end + 1
            if line.startswith((".branchtargets", ".calltargets")):
                yield "targets", [name.strip() for name in line.split(None, 1)[1].split(",")]
            elif not line.startswith("."):
                found = STATEMENT.match(line)
                if not found:
                    raise BadInput(f"PTX: cannot read '{' '.join(line.split())[:80]}'")
                guard = (found.group("guard") or "").strip().removeprefix("@")
                yield "instruction", Instruction(found.group("opcode"), split_operands(found.group("operands")), guard)
    raise BadInput("PTX: a kernel does not end")


def blocks_of(text):
    """Blocks of a kernel, in its order; the first is its entry."""
    blocks, lists, labels = [Block([])], {}, []
    open_block = True
    for what, item in statements(text):
        if what == "label":
            labels.append(item)
            continue
        if what == "targets":
            lists[labels.pop()] = item
            continue
        if labels or not open_block:
            if labels and not blocks[-1].instructions and open_block:
                blocks[-1].labels += labels
            else:
                blocks.append(Block(labels))
            labels, open_block = [], True
        blocks[-1].instructions.append(item)
        open_block = item.name not in ENDS | {"bra", "brx"}
    if labels:
        raise BadInput(f"PTX: nothing follows label '{labels[0]}'")
    where = {label: number for number, block in enumerate(blocks) for label in block.labels}
    if len(where) != sum(len(block.labels) for block in blocks):
        raise BadInput("PTX: a label is there twice in one kernel")

    def target(label):
        if label not in where:
            raise BadInput(f"PTX: a branch goes to '{label}', which is not there")
        return where[label]

    for number, block in enumerate(blocks):
        last = block.instructions[-1] if block.instructions else None
        ends = last is not None and not last.guard and last.name in ENDS | {"bra", "brx"}
        if last is not None and last.name == "bra":
            block.after.append(target(last.operands[0]))
        elif last is not None and last.name == "brx":
            if last.operands[1] not in lists:
                raise BadInput(f"PTX: a branch goes to one of '{last.operands[1]}', which is not there")
            block.after += sorted({target(label) for label in lists[last.operands[1]]})
        if not ends:
            if number + 1 == len(blocks):
                raise BadInput("PTX: a kernel runs past its end")
            if number + 1 not in block.after:
                block.after.append(number + 1)
    return blocks


def dominators(blocks):
    """Of each block that can be reached, the set of blocks that every way to it goes through."""
    order, seen, stack = [], {0}, [(0, iter(blocks[0].after))]
    while stack:
        number, rest = stack[-1]
        for after in rest:
            if after not in seen:
                seen.add(after)
                stack.append((after, iter(blocks[after].after)))
                break
        else:
            order.append(number)
            stack.pop()
    order.reverse()
    before = {number: [b for b in order if number in blocks[b].after] for number in order}
    dominated = {number: set(order) for number in order}
    dominated[0] = {0}
    changed = True
    while changed:
        changed = False
        for number in order[1:]:
            now = set.intersection(*(dominated[b] for b in before[number])) | {number}
            if now != dominated[number]:
                dominated[number], changed = now, True
    return order, before, dominated


def loops_of(blocks):
    """(natural loops, outer ones first; blocks in an order in which all edges but those back to a header go forward). Loops
    with one header are one. BadInput where a loop has two ways in."""
    order, before, dominated = dominators(blocks)
    position = {number: i for i, number in enumerate(order)}
    latches = {}
    for number in order:
        for after in blocks[number].after:
            if after in dominated[number]:
                latches.setdefault(after, []).append(number)
            elif position[after] <= position[number]:
                raise BadInput(f"PTX: a loop has two ways in, at block {after}: no natural loop")
    bodies = {}
    for header, ends in latches.items():
        body, queue = {header}, list(ends)
        while queue:
            at = queue.pop()
            if at not in body:
                body.add(at)
                queue += before[at]
        bodies[header] = frozenset(body)
    found = [Loop(header, tuple(latches[header]), body, tuple(h for h in bodies if h != header and h in body))
             for header, body in bodies.items()]
    return sorted(found, key=lambda loop: -len(loop.blocks)), order
