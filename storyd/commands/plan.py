"""what a job will ask, cost and take, without asking anything"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import orjson

from storyd import config
from storyd.budget import CHARACTERS_PER_TOKEN
from storyd.commands.prompts import prompt_line
from storyd.config import Setup
from storyd.display import duration, money, safe_lines
from storyd.exchange import Usage
from storyd.prices import cost
from storyd.space import Prompt

SAMPLES = 200
"""How many prompts, spread over the job, are measured."""
BATCH_DISCOUNT = {"openai": 0.5, "anthropic": 0.5, "mistral": 0.5}
"""Kind → what a batch costs of the live price (providers' price pages, 2026)."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `storyd plan`."""
    parser.add_argument("job", type=Path, metavar="JOB.yaml")
    parser.add_argument(
        "--show", type=int, default=2, metavar="N", help="print the first N prompts (default 2)"
    )
    parser.add_argument(
        "--set", dest="sets", action="append", default=[], metavar="a.b=c", help="override a key"
    )
    parser.add_argument("--provider", metavar="P", help="plan for this provider instead")
    parser.add_argument("--trust", action="store_true", help="let the job file name servers to launch")


@dataclass(frozen=True, slots=True)
class Plan:
    """Figures of a job. Tokens are per answer; `usd` and `seconds` are for the whole job, None is unknown.

    `least` supposes that every answer is valid, `most` that every prompt takes all its attempts.
    """

    space: int
    stories: int
    shards: int
    input_tokens: int
    output_tokens: int
    usd: tuple[float, float] | None
    usd_batch: tuple[float, float] | None
    seconds: tuple[float, float] | None
    binding: str


def call(args: argparse.Namespace) -> int:
    """Print the plan; returns 0. Raises ConfigError."""
    setup = config.load(
        args.job, sets=args.sets, provider=args.provider, trust=args.trust, directory=args.dir, offline=True
    )
    plan = planned(setup)
    shown = range(min(args.show, setup.job.stories))
    if args.json:
        prompts = [orjson.loads(prompt_line(setup.job, index)) for index in shown]
        print(orjson.dumps({"job": setup.job.name, "plan": plan, "prompts": prompts}).decode())
        return 0
    print("\n".join(_lines(setup, plan)))
    for index in shown:
        print(f"\n── prompt {index} ──")
        print(_readable(setup.job.prompt(index)))
    return 0


def planned(setup: Setup) -> Plan:
    """The figures of a job, from a sample of its prompts. Pure but for the prompts."""
    job = setup.job
    step = max(1, job.stories // SAMPLES)
    sizes = [_characters(job.prompt(index)) for index in range(0, job.stories, step)]
    asked = round(sum(sizes) / len(sizes) / CHARACTERS_PER_TOKEN)
    answered = job.sampling.max_tokens
    usd = None if setup.price is None else cost(setup.price, Usage(asked, answered)) * job.stories
    discount = BATCH_DISCOUNT.get(setup.provider.kind)
    seconds, binding = _seconds(setup, asked, answered)
    most = job.retry.invalid
    return Plan(
        job.space.size,
        job.stories,
        job.shards,
        asked,
        answered,
        None if usd is None else (usd, usd * most),
        None if usd is None or discount is None else (usd * discount, usd * discount * most),
        None if seconds is None else (seconds, seconds * most),
        binding,
    )


def _seconds(setup: Setup, asked: int, answered: int) -> tuple[float | None, str]:
    """Seconds at the limits, and which of them binds; None where no rate is limited."""
    limits, stories = setup.provider.limits, setup.job.stories
    meters = {
        "requests/min": (1, limits.rpm),
        "tokens/min": (asked + answered, limits.tpm),
        "input tokens/min": (asked, limits.input_tpm),
        "output tokens/min": (answered, limits.output_tpm),
    }
    times = {name: 60 * stories * each / limit for name, (each, limit) in meters.items() if limit}
    binding = max(times, key=lambda name: times[name], default="")
    return times.get(binding), binding


def _lines(setup: Setup, plan: Plan) -> list[str]:
    job = setup.job
    lines = [
        f"{job.name}: {plan.stories:,} of {plan.space:,} different prompts, in {plan.shards:,} shards",
        f"asks {setup.provider.name}, model {job.model}; up to {job.retry.invalid} answers a prompt",
        f"about {plan.input_tokens:,} tokens asked and at most {plan.output_tokens:,} answered each time",
        f"price: {_money(plan.usd)}" + (f"; as a batch {_money(plan.usd_batch)}" if plan.usd_batch else ""),
    ]
    if plan.seconds is None:
        return [*lines, "time: as fast as the provider answers (no rate limit is set)"]
    least, most = (duration(seconds) for seconds in plan.seconds)
    return [*lines, f"time at the limits: {least} to {most}; {plan.binding} binds"]


def _money(usd: tuple[float, float] | None) -> str:
    if usd is None:
        return "not known (give the provider a price)"
    if usd[1] == 0:
        return "nothing"
    return f"{money(usd[0])} if every answer is valid, at most {money(usd[1])}"


def _characters(prompt: Prompt) -> int:
    return sum(len(text) for _, text in prompt.messages) + len(prompt.prefill)


def _readable(prompt: Prompt) -> str:
    said = [f"{role}: {text}" for role, text in prompt.messages]
    prefill = [f"answer starts: {prompt.prefill}"] if prompt.prefill else []
    traits = [f"traits: {', '.join(f'{name}={value}' for name, value in prompt.traits.items())}"]
    return safe_lines("\n".join(said + prefill + traits))
