"""How much of an enforced limit is used, and how much of it is refused: requests bind, and tokens bind.

    python tests/bench/limiter.py [--seconds 180]

A simulator over real HTTP enforces 3,000 requests and 400,000 tokens a minute with two seconds of burst. The
width is found by itself; the limits are once configured, once only learned from headers. Bars, over seconds
15 to the end: ≥ 97 % of the binding limit's rate × time used, < 0.2 % of the answers 429.
"""

import argparse
import asyncio
from contextlib import suppress
from dataclasses import dataclass

import anyio
import uvloop

from storyd.errors import Transient
from storyd.exchange import Request
from storyd.limiter import Limited
from storyd.providers import connect
from storyd.settings import Limits, ProviderSettings
from storyd.simulator import Simulator, SimulatorSettings, serve

RPM, TPM, BURST = 3000, 400_000, 2.0
WARM_UP = 15.0
HANDS = 512
PROMPT = "Write a short story about a cat, a lake and a brave little boat. " * 2


@dataclass
class Case:
    name: str
    max_tokens: int
    limits: Limits
    binding: str
    rate: float


CASES = (
    Case("requests bind, configured", 50, Limits(rpm=RPM, tpm=TPM), "requests", RPM / 60),
    Case("requests bind, learned", 50, Limits(), "requests", RPM / 60),
    Case("tokens bind, configured", 400, Limits(rpm=RPM, tpm=TPM), "tokens", TPM / 60),
    Case("tokens bind, learned", 400, Limits(), "tokens", TPM / 60),
)


def counted(simulator: Simulator, meter: str) -> tuple[float, int, int]:
    """Units charged to what was let in, requests, and refusals, so far."""
    counts = simulator.counts()
    refused = sum(counts["rejected"].values())
    charged = counts["charged"][meter] - (refused if meter == "requests" else 0)
    return charged, counts["asked"], refused


async def ask(limited: Limited, max_tokens: int) -> None:
    """Ask without end."""

    async def hand(number: int) -> None:
        for nth in range(1_000_000):
            with suppress(Transient):
                await limited.complete(Request(f"bench/{number}.{nth}", "m", (("user", PROMPT),), max_tokens))

    async with anyio.create_task_group() as hands:
        for number in range(HANDS):
            hands.start_soon(hand, number)


async def measure(case: Case, seconds: float, results: dict[str, str]) -> None:
    settings = SimulatorSettings(rpm=RPM, tpm=TPM, burst=BURST, latency=1.0, jitter=0.4)
    async with serve(settings, port=0) as simulator:
        account = ProviderSettings("simulator", "openai", (simulator.url,))
        async with connect(account) as provider:
            limited = Limited(provider, case.limits)
            async with anyio.create_task_group() as around:
                around.start_soon(ask, limited, case.max_tokens)
                await anyio.sleep(WARM_UP)
                began, before = asyncio.get_running_loop().time(), counted(simulator, case.binding)
                await anyio.sleep(seconds - WARM_UP)
                took, after = asyncio.get_running_loop().time() - began, counted(simulator, case.binding)
                shown = f"width {limited.width}, {limited.binding or 'nothing'} binds"
                around.cancel_scope.cancel()
                limited.stop()
    used = (after[0] - before[0]) / (case.rate * took)
    refused = (after[2] - before[2]) / max(1, after[1] - before[1])
    verdict = "ok" if used >= 0.97 and refused < 0.002 else "FAILED"
    results[case.name] = (
        f"{case.name:28} used {used:6.1%}  429 {refused:.2%} ({after[2]} in all)  {shown}  {verdict}"
    )


async def main(seconds: float) -> bool:
    results: dict[str, str] = {}
    async with anyio.create_task_group() as cases:
        for case in CASES:
            cases.start_soon(measure, case, seconds, results)
    for case in CASES:
        print(results[case.name])
    return all(line.endswith("ok") for line in results.values())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=180.0)
    raise SystemExit(0 if uvloop.run(main(parser.parse_args().seconds)) else 1)
