"""Prompt spaces: pure maps from (seed, index) to a Prompt. Knows nothing of files, models or jobs.

Sampling without repetition is a keyed permutation of the product space, so any index of any shard can be
computed alone and no memory of what was drawn is needed. Method: J. Black and P. Rogaway, "Ciphers with
arbitrary finite domains" (CT-RSA 2002): a generalised Feistel network over Z_a × Z_b with a·b ≥ n, and
cycle-walking.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from hashlib import blake2b, shake_256
from itertools import accumulate
from typing import Literal, Protocol

from .exchange import Role

Draw = Literal["unique", "independent", "ordered"]
Trait = str | tuple[str, ...]
ROUNDS = 4


@dataclass(frozen=True, slots=True)
class Prompt:
    """Point `index` of a space. `traits` are the values chosen for it, as they stand in the text."""

    index: int
    text: str
    traits: Mapping[str, Trait]
    system: str = ""
    prefill: str = ""
    examples: tuple[tuple[Role, str], ...] = ()

    @property
    def messages(self) -> tuple[tuple[Role, str], ...]:
        """System message, examples, prompt: as they are sent."""
        head: tuple[tuple[Role, str], ...] = (("system", self.system),) if self.system else ()
        return (*head, *self.examples, ("user", self.text))


class Space(Protocol):
    """A finite set of prompts in an order that the seed decides."""

    @property
    def size(self) -> int:
        """How many different prompts there are (repeats counted)."""
        ...

    def prompt(self, seed: int, index: int) -> Prompt:
        """Prompt `index`; depends on nothing else."""
        ...


# ── randomness ────────────────────────────────────────────────────────────────────────────────────


def draw(seed: int, index: int, label: str) -> int:
    """64 random bits that depend on nothing but the arguments."""
    return int.from_bytes(blake2b(f"{seed}/{index}/{label}".encode(), digest_size=8).digest())


def below(seed: int, index: int, label: str, size: int) -> int:
    """A random integer in range(size), of any size; its bias is below 2⁻⁶⁴."""
    width = (size.bit_length() + 7) // 8 + 8
    return int.from_bytes(shake_256(f"{seed}/{index}/{label}".encode()).digest(width)) % size


@lru_cache(maxsize=64)
def _network(seed: int, size: int) -> tuple[int, int, int, tuple[tuple[int, int, int], ...]]:
    """Near-square sides a·b ≥ size; the bits that are mixed; three constants a round, two of them odd.

    64 bits more than a side has make a sum modulo the side all but uniform.
    """
    a = math.isqrt(size - 1) + 1
    bits = a.bit_length() + 64
    width = (bits + 7) // 8
    drawn = shake_256(f"{seed}/permutation".encode()).digest(3 * ROUNDS * width)
    numbers = [
        int.from_bytes(drawn[at : at + width]) >> (8 * width - bits) for at in range(0, len(drawn), width)
    ]
    rounds = tuple(
        (numbers[at], numbers[at + 1] | 1, numbers[at + 2] | 1) for at in range(0, len(numbers), 3)
    )
    return a, -(-size // a), bits, rounds


def _mix(side: int, constants: tuple[int, int, int], bits: int) -> int:
    """A keyed hash of a side: twice multiply and fold, as in the finalisers of MurmurHash, at any width."""
    add, first, second = constants
    mask, half = (1 << bits) - 1, bits >> 1
    side = ((side + add) * first) & mask
    side = ((side ^ (side >> half)) * second) & mask
    return side ^ (side >> half)


def permute(seed: int, size: int, index: int) -> int:
    """Where a seeded permutation of range(size) sends `index`; exact for any size. Raises IndexError."""
    if not 0 <= index < size:
        raise IndexError(index)
    a, b, bits, (one, two, three, four) = _network(seed, size)
    while True:
        left, right = divmod(index, b)
        # each round moves one side by a hash of the other, which undoing needs no inverse of
        left = (left + _mix(right, one, bits)) % a
        right = (right + _mix(left, two, bits)) % b
        left = (left + _mix(right, three, bits)) % a
        right = (right + _mix(left, four, bits)) % b
        index = left * b + right
        if index < size:
            return index


# ── templates ─────────────────────────────────────────────────────────────────────────────────────

_PIECE = re.compile(r"\{\{([a-z_][a-z0-9_]*)\}\}|\{([a-z_][a-z0-9_]*)\}|(\[\[)|(\]\])")


@dataclass(frozen=True, slots=True)
class Slot:
    """`{name}` in a template."""

    name: str


@dataclass(frozen=True)
class Template:
    """Text with `{slots}`. `[[ … ]]` vanishes when every slot in it is empty; any other brace is literal."""

    parts: tuple[str | Slot | Template, ...]

    @cached_property
    def slots(self) -> frozenset[str]:
        """The names of the slots, those of optional parts included."""
        names = {part.name for part in self.parts if isinstance(part, Slot)}
        return frozenset(names).union(*(part.slots for part in self.parts if isinstance(part, Template)))

    @cached_property
    def _pieces(self) -> tuple[tuple[str, frozenset[str]], ...]:
        """Runs of text as printf formats, each with the slots of which one must be filled (none: always)."""
        pieces: list[tuple[str, frozenset[str]]] = [("", frozenset())]
        for part in self.parts:
            if isinstance(part, Template):
                pieces += [("".join(map(_format, part.parts)), part.slots), ("", frozenset())]
            else:
                pieces[-1] = (pieces[-1][0] + _format(part), frozenset())
        return tuple(piece for piece in pieces if piece[0])

    def fill(self, values: Mapping[str, str]) -> str:
        """The text with every slot replaced, in one pass: a value's own braces stay as they are."""
        return "".join(
            [
                form % values
                for form, slots in self._pieces
                if not slots or any(values[name] for name in slots)
            ]
        )


def _format(part: str | Slot | Template) -> str:
    """A part of a template as a printf format, whose slots only a name can fill."""
    match part:
        case Slot(name):
            return f"%({name})s"
        case str():
            return part.replace("%", "%%")
        case Template():  # parse() nests no deeper than one
            return "".join(map(_format, part.parts))


def parse(text: str) -> Template:
    """Text → Template. An unpaired `[[` or `]]`, or a `[[ ]]` without slots, is literal text."""
    stack: list[list[str | Slot | Template]] = [[]]
    at = 0
    for found in _PIECE.finditer(text):
        if found.start() > at:
            stack[-1].append(text[at : found.start()])
        at = found.end()
        literal, slot, opens, closes = found.groups()
        if literal:
            stack[-1].append("{" + literal + "}")
        elif slot:
            stack[-1].append(Slot(slot))
        elif opens and len(stack) == 1:
            stack.append([])
        elif closes and len(stack) == 2:
            inner = Template(tuple(stack.pop()))
            stack[-1].extend([inner] if inner.slots else ["[[", *inner.parts, "]]"])
        else:
            stack[-1].append(found.group())
    stack[-1].append(text[at:])
    while len(stack) > 1:
        unclosed = stack.pop()
        stack[-1].extend(["[[", *unclosed])
    return Template(tuple(part for part in stack[0] if part != ""))


# ── axes ──────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True)
class Axis:
    """One slot's values: one of them, or (`choose`) a subset of `least` to `most`, joined.

    Values must differ from each other; `weights` (one per value) count under independent draws only.
    """

    name: str
    values: Sequence[str]
    choose: tuple[int, int] | None = None
    join: str = ", "
    weights: tuple[float, ...] | None = None

    @cached_property
    def size(self) -> int:
        """How many choices there are."""
        if self.choose is None:
            return len(self.values)
        least, most = self.choose
        return sum(math.comb(len(self.values), k) for k in range(least, most + 1))

    @cached_property
    def _totals(self) -> list[float]:
        return list(accumulate(self.weights or ()))

    def pick(self, rank: int) -> Trait:
        """Choice number `rank`, 0 ≤ rank < size: a value, or the values of a subset in the axis' order."""
        if self.choose is None:
            return self.values[rank]
        least, most = self.choose
        for k in range(least, most + 1):
            count = math.comb(len(self.values), k)
            if rank < count:
                return tuple(self.values[at] for at in _subset(len(self.values), k, rank))
            rank -= count
        raise IndexError(rank)

    def draw(self, seed: int, index: int) -> Trait:
        """An independent draw: uniform over all choices, or by weight."""
        if self.weights is None:
            return self.pick(below(seed, index, self.name, self.size))
        # 53 bits are exact as a float, so the point stays below the last total
        point = (draw(seed, index, self.name) >> 11) / 2**53 * self._totals[-1]
        return self.values[bisect_right(self._totals, point)]


@lru_cache(maxsize=256)
def _counts(n: int, k: int) -> tuple[int, ...]:
    """How many k-subsets lie below each number of range(n)."""
    return tuple(math.comb(top, k) for top in range(n))


def _subset(n: int, k: int, rank: int) -> list[int]:
    """The k-subset of range(n) with this rank in lexicographic order.

    Mirrored, that is the combinatorial number system: the rank is a sum of C(top, size), the tops falling.
    """
    rank = math.comb(n, k) - 1 - rank
    chosen: list[int] = []
    for size in range(k, 0, -1):
        counts = _counts(n, size)
        top = bisect_right(counts, rank) - 1
        rank -= counts[top]
        chosen.append(n - 1 - top)
    return chosen


# ── the spaces ────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Wording:
    """The templates of a prompt's parts."""

    text: Template
    system: Template = Template(())
    prefill: Template = Template(())

    @property
    def slots(self) -> frozenset[str]:
        """All slots of all parts."""
        return self.text.slots | self.system.slots | self.prefill.slots


@dataclass(frozen=True)
class Grid:
    """A template over the product of its axes.

    Values that hold slots of other axes are filled from them, in `order`: each axis after those it needs.
    """

    wording: Wording
    axes: tuple[Axis, ...]
    draw: Draw = "unique"
    repeats: int = 1
    nested: Mapping[str, Mapping[str, Template]] = field(default_factory=dict)
    """axis → value → its template, for the values that hold slots."""
    order: tuple[str, ...] = ()

    @cached_property
    def combinations(self) -> int:
        """The size of the product space."""
        return math.prod(axis.size for axis in self.axes)

    @property
    def size(self) -> int:
        """The number of combinations, times the repeats."""
        return self.combinations * self.repeats

    @cached_property
    def _joins(self) -> dict[str, str]:
        return {axis.name: axis.join for axis in self.axes}

    @cached_property
    def _digits(self) -> tuple[tuple[str, int, Axis], ...]:
        """Name, size and axis, the fastest-changing first."""
        return tuple((axis.name, axis.size, axis) for axis in reversed(self.axes))

    def prompt(self, seed: int, index: int) -> Prompt:
        """Combination `index // repeats` in the seed's order, as a prompt."""
        point = index // self.repeats
        if self.draw == "independent":
            picked = {axis.name: axis.draw(seed, point) for axis in self.axes}
        else:
            rank = point if self.draw == "ordered" else permute(seed, self.combinations, point)
            picked = self._unrank(rank)
        if self.nested:
            picked = self._resolve(picked)
        joins = self._joined(picked)
        wording = self.wording
        return Prompt(
            index, wording.text.fill(joins), picked, wording.system.fill(joins), wording.prefill.fill(joins)
        )

    def _unrank(self, rank: int) -> dict[str, Trait]:
        picked: dict[str, Trait] = {}
        for name, size, axis in self._digits:
            rank, digit = divmod(rank, size)
            picked[name] = axis.pick(digit)
        return dict(reversed(picked.items()))

    def _joined(self, picked: Mapping[str, Trait]) -> dict[str, str]:
        joins = self._joins
        return {
            name: said if isinstance(said, str) else joins[name].join(said) for name, said in picked.items()
        }

    def _resolve(self, picked: Mapping[str, Trait]) -> dict[str, Trait]:
        done = dict(picked)
        for name in self.order:
            templates = self.nested.get(name)
            if templates:
                known = self._joined(done)
                said = done[name]
                if isinstance(said, str):
                    done[name] = templates[said].fill(known) if said in templates else said
                else:
                    done[name] = tuple(
                        templates[one].fill(known) if one in templates else one for one in said
                    )
        return done


@dataclass(frozen=True, slots=True)
class Rows:
    """Prompts that exist already, or one prompt per row of a table: a template over each row's fields."""

    wording: Wording
    rows: Sequence[Mapping[str, str]]
    draw: Draw = "ordered"
    repeats: int = 1
    traits: tuple[str, ...] = ()
    """The fields that become traits."""

    @property
    def size(self) -> int:
        """The number of rows, times the repeats."""
        return len(self.rows) * self.repeats

    def prompt(self, seed: int, index: int) -> Prompt:
        """Row `index // repeats` in the seed's order, as a prompt."""
        point = index // self.repeats
        match self.draw:
            case "ordered":
                at = point
            case "unique":
                at = permute(seed, len(self.rows), point)
            case "independent":
                at = draw(seed, point, "row") % len(self.rows)
        row = self.rows[at]
        traits = {name: row[name] for name in self.traits}
        wording = self.wording
        return Prompt(
            index, wording.text.fill(row), traits, wording.system.fill(row), wording.prefill.fill(row)
        )
