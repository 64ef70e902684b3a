"""Retry until valid, as pure functions: a past and an outcome in, one event out."""

from __future__ import annotations

from typing import NamedTuple

from .errors import Refused, Transient, Unanswered
from .events import Abandoned, Accepted, Event, Fault, Invalid, Logged, Paid, Reopened
from .exchange import NO_USAGE, Completion
from .job import Job
from .past import Past, Rejected
from .prices import cost
from .record import Record
from .settings import Price
from .space import Prompt, draw
from .verdict import Verdict, judge

ROUNDS = 2
"""How often an index may use up `retry.transient` before it is abandoned."""
ACCOUNT_CAP = 4.0
"""Seconds that an index waits at most after a fault of the account, which its limiter waits out anyway."""


class Asked(NamedTuple):
    """Who was asked, at what price, and when the outcome came."""

    provider: str
    price: Price | None
    at: str


def decide(job: Job, prompt: Prompt, past: Past, outcome: Completion | Unanswered, asked: Asked) -> Event:
    """What an outcome means for its index."""
    match outcome:
        case Completion():
            return _answered(job, prompt, past, outcome, asked)
        case Refused():
            return Abandoned(prompt.index, past.nth, (str(outcome),), asked.at)
        case Transient():
            return _faulted(job, prompt.index, past, outcome, asked.at)
    raise TypeError(f"no outcome of a question: {outcome!r}")


def _answered(job: Job, prompt: Prompt, past: Past, answer: Completion, asked: Asked) -> Event:
    verdict = judge(job.extract, job.clean, job.checks, prompt, answer)
    if verdict.ok:
        return Accepted(prompt.index, _records(job, prompt, past, verdict, (answer, asked)))
    if past.invalid + 1 >= job.retry.invalid:
        return Abandoned(prompt.index, past.nth, verdict.why, asked.at, _paid(job, answer, asked))
    return Invalid(prompt.index, past.nth, verdict.why, _paid(job, answer, asked), asked.at)


def _paid(job: Job, answer: Completion, asked: Asked) -> Paid:
    text = answer.text.encode(errors="replace").decode()  # half a character could not be written down
    model, usd = answer.model or job.model, _usd(answer, asked)
    return Paid(text, answer.finish, model, answer.usage, usd, round(answer.seconds, 3))


def _usd(answer: Completion, asked: Asked) -> float | None:
    return None if asked.price is None else cost(asked.price, answer.usage)


def _records(
    job: Job, prompt: Prompt, past: Past, verdict: Verdict, source: tuple[Completion, Asked]
) -> tuple[Record, ...]:
    answer, asked = source
    first = Record(
        job=job.name,
        index=prompt.index,
        nth=past.nth,
        story=verdict.stories[0],
        words=verdict.words[0],
        traits=prompt.traits,
        provider=asked.provider,
        model=answer.model or job.model,
        attempts=past.invalid + 1,
        finish=answer.finish,
        usage=answer.usage,
        usd=_usd(answer, asked),
        seconds=round(answer.seconds, 3),
        created=asked.at,
        parts=len(verdict.stories),
    )
    if first.parts == 1:
        return (first,)
    rest = first._replace(usage=NO_USAGE, usd=None if first.usd is None else 0.0, seconds=0.0)
    others = zip(verdict.stories, verdict.words, strict=True)
    return (first, *[rest._replace(story=s, words=w, part=n) for n, (s, w) in enumerate(others) if n])


def _faulted(job: Job, index: int, past: Past, fault: Transient, at: str) -> Event:
    own = past.own + 1 if fault.own else past.own
    if fault.own and own >= ROUNDS * job.retry.transient:
        return Abandoned(index, past.nth, (str(fault),), at)
    put_off = fault.own and own == job.retry.transient
    return Fault(index, past.nth, str(fault), fault.own, _wait(job, index, past, fault), at, put_off)


def _wait(job: Job, index: int, past: Past, fault: Transient) -> float:
    """Seconds: [0.75, 1]·base·2ⁿ, capped; never less than Retry-After."""
    cap = job.retry.cap if fault.own else min(job.retry.cap, ACCOUNT_CAP)
    wait: float = min(cap, job.retry.base * 2.0 ** min(past.faults, 32))
    jitter = 0.75 + draw(job.seed, index, f"wait/{past.nth}/{past.faults}") / 2**66
    return max(fault.retry_after, round(jitter * wait, 3))


def after(past: Past, event: Logged) -> Past:
    """What an index has been through once this has happened too."""
    match event:
        case Invalid(nth=nth, why=why, answer=answer):
            return Past(max(nth, past.nth) + 1, past.invalid + 1, rejected=Rejected(answer.text, why))
        case Fault(own=own):
            return Past(past.nth, past.invalid, past.own + own, past.faults + 1, past.rejected)
        case Abandoned(nth=nth):
            return Past(max(nth, past.nth) + 1)
        case Reopened(nth=nth):
            return Past(max(nth, past.nth))
