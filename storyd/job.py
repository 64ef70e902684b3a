"""A job: everything that decides what its records are, and nothing about where, when or how fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .exchange import Request, nothing
from .past import Past
from .space import Prompt, Space, draw
from .verdict import Check, Cleaner, Extract


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often an index is asked before it is abandoned, and how long to wait between faults.

    `invalid` is the number of well-formed answers that may be invalid; `transient` the number of
    faults of an index's own in one round (of two); `base` and `cap` are seconds.
    """

    invalid: int = 5
    transient: int = 20
    feedback: bool = False
    tolerate: float = 0.01
    base: float = 0.5
    cap: float = 60.0


@dataclass(frozen=True, slots=True)
class Sampling:
    """What is asked of the model besides the words. `seed` "auto" derives one per question."""

    max_tokens: int = 400
    seed: int | str | None = None
    options: Mapping[str, Any] = field(default_factory=nothing)
    """temperature, top_p, … by the job file's names."""
    extra: Mapping[str, Any] = field(default_factory=nothing)


@dataclass(frozen=True, slots=True)
class Job:
    """What to make. Frozen; `fingerprint` guards a resume."""

    name: str
    seed: int
    stories: int
    shard_size: int
    space: Space
    model: str
    sampling: Sampling
    extract: Extract
    clean: Sequence[Cleaner]
    checks: Sequence[tuple[str, Check]]
    retry: RetryPolicy = RetryPolicy()
    fingerprint: Mapping[str, str] = field(default_factory=nothing)
    """Key of the job file → hash of its value: see `changed`."""

    @property
    def shards(self) -> int:
        """How many shards the job has."""
        return -(-self.stories // self.shard_size)

    def shard(self, number: int) -> range:
        """The indices of a shard."""
        first = number * self.shard_size
        return range(first, min(first + self.shard_size, self.stories))

    def prompt(self, index: int) -> Prompt:
        """Prompt `index` of this job."""
        return self.space.prompt(self.seed, index)


def compose(job: Job, prompt: Prompt, past: Past) -> Request:
    """The next question about a prompt, given what its index has been through."""
    messages = prompt.messages
    if job.retry.feedback and past.rejected is not None and past.rejected.text.strip():
        # (an empty answer teaches nothing, and some providers refuse to be shown one)
        messages = (
            *messages,
            ("assistant", past.rejected.text),
            ("user", _feedback(past.rejected.why)),
        )
    sampling = job.sampling.options
    if job.sampling.seed is not None:
        sampling = {**sampling, "seed": _seed(job, prompt.index, past.nth)}
    return Request(
        f"{job.name}/{prompt.index}.{past.nth}",
        job.model,
        messages,
        job.sampling.max_tokens,
        sampling,
        job.sampling.extra,
        prompt.prefill,
    )


def changed(was: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """The keys whose values differ between two fingerprints, sorted."""
    return sorted(key for key in was.keys() | now.keys() if was.get(key) != now.get(key))


def _seed(job: Job, index: int, nth: int) -> int:
    """31 bits, which every provider takes; differs per attempt, or a retry would repeat the answer."""
    if job.sampling.seed == "auto":
        return draw(job.seed, index, f"seed/{nth}") >> 33
    return (int(job.sampling.seed or 0) + nth) & 0x7FFFFFFF


def _feedback(why: Sequence[str]) -> str:
    reasons = "\n".join(f"- {reason}" for reason in why)
    return f"That answer cannot be used:\n{reasons}\nAnswer the same request again, without these faults."
