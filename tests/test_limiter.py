import asyncio
import math
from itertools import pairwise

import anyio
import pytest
from pretend import Account, between, played, worked

from storyd.errors import Fatal, Refused, Transient
from storyd.exchange import Completion, Reading, Request, Usage
from storyd.limiter import Limited
from storyd.settings import Limits

ASK = Request("job/0.0", "m", (("user", "x" * 36),), 400)
SAID = Completion("once", "stop", Usage(10, 100))
NONE = Limits()
REFUSED = Refused("HTTP 400: no", certain=False)


class Scripted:
    """Says one thing after another, each after a while; the last for ever."""

    def __init__(self, *says, after=0.1):
        self.says, self.after, self.asked, self.in_flight = list(says), after, [], 0

    async def complete(self, request):
        self.asked.append(asyncio.get_running_loop().time() - 1000)
        said = self.says.pop(0) if len(self.says) > 1 else self.says[0]
        self.in_flight += 1
        try:
            await asyncio.sleep(self.after)
        finally:
            self.in_flight -= 1
        if isinstance(said, Exception):
            raise said
        return said


def play(provider, limits=NONE, seconds=60.0, max_tokens=400, **how):
    """An account that is asked without end for so long."""

    async def main():
        limited = Limited(provider, limits, **how)
        await worked(limited, seconds, max_tokens=max_tokens)
        return limited

    return played(main())


async def outcomes(limited, times):
    """What comes of asking again and again."""
    found = []
    for _ in range(times):
        try:
            found.append(await limited.complete(ASK))
        except (Transient, Refused, Fatal) as error:
            found.append(error)
    return found


# ── the pace ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limits", [Limits(rpm=3000, tpm=400_000), Limits()], ids=["configured", "learned"])
@pytest.mark.parametrize(
    ("max_tokens", "rate"), [(50, 50.0), (400, 400_000 / 60 / 400)], ids=["requests", "tokens"]
)
def test_the_providers_limit_is_the_bottleneck(limits, max_tokens, rate):
    account = Account(rpm=3000, tpm=400_000)
    play(account, limits, 90, max_tokens)
    used = (between(account.asked, 15, 90) - between(account.refused, 15, 90)) / (75 * rate)
    assert used > 0.97
    assert len(account.refused) / len(account.asked) < 0.002


def test_a_minute_is_spread_from_the_start():
    account = Account(rpm=600, burst=60, says=False)
    play(account, Limits(rpm=600), 10)
    assert all(between(account.asked, second, second + 1) <= 12 for second in range(10))


def test_a_server_without_headers_is_paced_as_configured():
    account = Account(rpm=3000, says=False)
    play(account, Limits(rpm=3000), 60, 50)
    assert between(account.done, 15, 60) / 45 > 0.97 * 50
    assert not account.refused


def test_a_server_that_says_nothing_is_found_out():
    account = Account(rpm=600, says=False)
    play(account, Limits(), 120)
    assert between(account.done, 15, 120) / 105 > 0.9 * 10
    assert len(account.refused) / len(account.asked) < 0.03


@pytest.mark.parametrize(("says", "used", "refused"), [(True, 0.97, 0.002), (False, 0.9, 0.01)])
def test_a_configured_limit_that_is_too_high_does_no_harm(says, used, refused):
    account = Account(rpm=3000, says=says)
    play(account, Limits(rpm=6000), 90, 50)
    assert between(account.done, 30, 90) / 60 > used * 50
    assert len(account.refused) / len(account.asked) < refused


def test_one_refusal_is_forgotten():
    busy = Transient("HTTP 429", retry_after=1, limited=True)
    provider = Scripted(*[SAID] * 100, busy, SAID)
    play(provider, Limits(rpm=1200), 120)
    assert sum(100 <= at < 120 for at in provider.asked) / 20 > 0.97 * 20


@pytest.mark.parametrize("charges", [0.5, 1.5])
def test_what_the_provider_really_charges_is_learned(charges):
    account = Account(tpm=400_000, burst=60, charges=charges)
    play(account, Limits(tpm=400_000), 120)
    assert between(account.done, 60, 120) / 60 > 0.95 * 400_000 / 60 / 400 / charges
    assert len(account.refused) / len(account.asked) < 0.002


@pytest.mark.parametrize(("was", "then"), [(3000, 1000), (1000, 3000)], ids=["down", "up"])
def test_a_limit_that_changes_is_followed_within_30_seconds(was, then):
    account = Account(rpm=was)

    async def main():
        limited = Limited(account, Limits())
        async with anyio.create_task_group() as group:
            group.start_soon(worked, limited, 60.0, 512, 50)
            await anyio.sleep(30)
            account.change(requests=then)

    played(main())
    assert between(account.done, 55, 60) / 5 == pytest.approx(then / 60, rel=0.1)


def test_output_is_charged_as_it_comes():
    account = Account(says=False)
    play(account, Limits(output_tpm=60_000), 60)
    assert between(account.done, 20, 60) / 40 == pytest.approx(10, rel=0.1), (
        "100 each, though 400 were asked for"
    )


def test_input_is_charged_as_it_is_told():
    account = Account(says=False)
    play(account, Limits(input_tpm=6_000), 60)
    assert between(account.done, 20, 60) / 40 == pytest.approx(10, rel=0.1)


# ── the width ─────────────────────────────────────────────────────────────────────────────────────


def test_it_starts_small_and_widens():
    account = Account(says=False)
    limited = play(account, seconds=20)
    assert between(account.asked, 0, 0.3) == 8
    assert limited.width == 512


def test_a_width_is_a_width():
    account = Account(says=False)
    play(account, seconds=20, width=40)
    assert account.peak == 40


def test_the_accounts_concurrency_bounds_any_width():
    account = Account(says=False)
    play(account, Limits(concurrency=20), seconds=20, width=40)
    assert account.peak == 20


@pytest.mark.parametrize(("slots", "latency"), [(8, 2.0), (32, 0.6), (100, 2.0)])
def test_a_server_that_only_queues_is_asked_as_wide_as_helps(slots, latency):
    account = Account(slots=slots, latency=latency, says=False)
    limited = play(account, seconds=180)
    assert between(account.done, 60, 180) / 120 > 0.9 * slots / (latency * 1.03)
    assert limited.width <= 2 * slots


def test_a_server_that_takes_only_so_many_is_asked_just_below():
    account = Account(concurrency=50, says=False)
    play(account, seconds=120)
    assert between(account.done, 30, 120) / 90 > 0.9 * 50 / (0.6 * 1.03)
    assert len(account.refused) / len(account.asked) < 0.01


def test_the_width_does_not_grow_where_the_pace_binds():
    limited = play(Account(rpm=600), Limits(rpm=600), 60)
    assert limited.width <= 16


# ── refusals ──────────────────────────────────────────────────────────────────────────────────────


def test_retry_after_is_a_minimum_for_the_whole_account():
    busy = Transient("HTTP 429", retry_after=20, limited=True)
    provider = Scripted(*[SAID] * 4, busy, SAID)
    play(provider, seconds=60)
    first = next(index for index, at in enumerate(provider.asked) if at > 0.25)
    assert 20 <= provider.asked[first] - 0.1 <= 25.3


def test_a_refusal_of_the_account_counts_against_no_question():
    async def main():
        limited = Limited(Scripted(*[SAID] * 40, Transient("HTTP 429", limited=True)), Limits())
        return await outcomes(limited, 60)

    refusals = [said for said in played(main()) if isinstance(said, Transient)]
    assert len(refusals) == 20
    assert not any(refusal.own for refusal in refusals)


def test_pauses_grow_while_nothing_else_comes():
    provider = Scripted(Transient("HTTP 429", limited=True))
    play(provider, seconds=300, width=1)
    gaps = [after - before for before, after in pairwise(provider.asked)]
    assert gaps[0] < 1
    assert all(45 <= gap <= 61 for gap in gaps[9:])


# ── outages ───────────────────────────────────────────────────────────────────────────────────────


def test_an_outage_is_a_pause_with_one_probe_at_a_time():
    account = Account(rpm=3000, says=False, down=(1060, 1660))
    play(account, Limits(rpm=3000), 720, 50)
    probes = [at - 1000 for at in account.asked if 1062 <= at < 1660]
    assert 600 / 5.2 < len(probes) < 600 / 3.7
    assert all(after - before > 0.3 for before, after in pairwise(probes))
    assert between(account.done, 670, 720) / 50 > 0.97 * 50, "full speed again within ten seconds"


def test_a_wide_job_is_wide_again_within_ten_seconds_of_an_outage():
    account = Account(says=False, down=(1030, 1090))
    play(account, seconds=110, width=300)
    assert between(account.done, 100, 110) > 0.97 * between(account.done, 20, 30)


def test_an_outage_from_the_very_start_is_waited_out():
    account = Account(rpm=3000, down=(1000, 1120))
    play(account, seconds=150, max_tokens=50)
    assert between(account.asked, 2, 120) < 40
    assert between(account.done, 132, 150) / 18 > 0.9 * 50


def test_a_fault_is_a_questions_own_while_others_succeed():
    async def main():
        faults = [Transient("reset") for _ in range(30)]
        provider = Scripted(*[SAID] * 10, Transient("reset"), *[SAID] * 2, *faults)
        return await outcomes(Limited(provider, Limits()), 40)

    found = played(main())
    assert found[10].own
    faults = found[13:]
    assert faults[0].own
    assert not faults[-1].own, "when most fail it is the account"


def test_the_first_fault_of_all_is_nobodys_own():
    async def main():
        return await outcomes(Limited(Scripted(Transient("reset")), Limits()), 1)

    assert not played(main())[0].own


# ── doubt ─────────────────────────────────────────────────────────────────────────────────────────


def test_an_account_that_refuses_every_question_from_the_start_parks():
    async def main():
        return await outcomes(Limited(Scripted(REFUSED), Limits()), 8)

    found = played(main())
    assert all(isinstance(said, Transient) for said in found[:7])
    assert isinstance(found[7], Fatal)
    assert "HTTP 400: no" in str(found[7])
    assert found[7].fix


def test_after_a_first_answer_a_refusal_is_the_questions():
    async def main():
        return await outcomes(Limited(Scripted(SAID, REFUSED), Limits()), 20)

    assert all(isinstance(said, Refused) for said in played(main())[1:])


def test_a_certain_refusal_is_the_questions_from_the_start():
    async def main():
        return await outcomes(Limited(Scripted(Refused("too long")), Limits()), 20)

    assert all(isinstance(said, Refused) for said in played(main()))


def test_faults_among_the_refusals_are_an_outage():
    async def main():
        return await outcomes(Limited(Scripted(Transient("reset"), REFUSED), Limits()), 12)

    assert all(isinstance(said, Transient) for said in played(main()))


def test_what_is_fatal_passes_at_once():
    async def main():
        limited = Limited(Scripted(Fatal("HTTP 401")), Limits())
        found = await outcomes(limited, 1)
        return found[0], limited.in_flight

    said, in_flight = played(main())
    assert isinstance(said, Fatal)
    assert in_flight == 0


# ── cancellation ──────────────────────────────────────────────────────────────────────────────────


def test_a_drain_waits_for_what_was_sent_and_sends_no_more():
    async def main():
        provider, answers = Scripted(SAID, after=5.0), []
        limited = Limited(provider, Limits(), width=4)

        async def hand():
            while True:
                answers.append(await limited.complete(ASK))

        with anyio.CancelScope() as drain:
            async with anyio.create_task_group() as group:
                for _ in range(10):
                    group.start_soon(hand)
                await anyio.sleep(1)
                drain.cancel()
        return len(answers), len(provider.asked), limited.in_flight, limited.waiting

    assert played(main()) == (4, 4, 0, 0)


def test_a_drain_ends_hands_that_never_wait():
    async def main():
        class Ready:
            async def complete(self, request):
                return SAID

        limited = Limited(Ready(), Limits())
        with anyio.CancelScope() as drain:
            for number in range(10_000):
                if number == 10:
                    drain.cancel()
                await limited.complete(ASK)
        return number

    assert played(main()) == 10


def test_a_stop_does_not_wait():
    async def main():
        provider = Scripted(SAID, after=500.0)
        limited = Limited(provider, Limits())
        with anyio.CancelScope() as everything:
            async with anyio.create_task_group() as group:
                for _ in range(5):
                    group.start_soon(limited.complete, ASK)
                await anyio.sleep(1)
                everything.cancel()
                limited.stop()
        return asyncio.get_running_loop().time() - 1000, provider.in_flight, limited.in_flight

    time, sent, counted = played(main())
    assert time < 2
    assert (sent, counted) == (0, 0)


def test_a_waiter_that_leaves_gives_its_turn_to_the_next():
    async def main():
        limited = Limited(Scripted(SAID, after=1.0), Limits(), width=1)
        done = []

        async def hand(name, patience):
            with anyio.move_on_after(patience):
                await limited.complete(ASK)
                done.append(name)

        async with anyio.create_task_group() as group:
            for name, patience in (("first", 9), ("leaves", 0.5), ("leaves too", 1.0), ("last", 9)):
                group.start_soon(hand, name, patience)
        return done, limited.in_flight, asyncio.get_running_loop().time() - 1000

    done, in_flight, took = played(main())
    assert done == ["first", "last"]
    assert in_flight == 0
    assert took < 2.5


def test_a_probe_that_is_cancelled_is_followed_by_another():
    async def main():
        provider = Scripted(*[Transient("down")] * 8, SAID)
        limited = Limited(provider, Limits())
        await outcomes(limited, 8)
        provider.after = math.inf
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as group:
                group.start_soon(limited.complete, ASK)
                await anyio.sleep(5)
                scope.cancel()
                limited.stop()
        provider.after = 0.1
        return await outcomes(limited, 1)

    assert played(main()) == [SAID]


# ── what is shown ─────────────────────────────────────────────────────────────────────────────────


def shown(provider, at, **how):
    """What binds after so many seconds."""

    async def main():
        limited = Limited(provider, how.pop("limits", Limits()), **how)
        async with anyio.create_task_group() as group:
            group.start_soon(worked, limited, at + 1, 64)
            await anyio.sleep(at)
            return limited.binding

    return played(main())


@pytest.mark.parametrize(
    ("provider", "how", "binding"),
    [
        (Scripted(SAID), {"width": 64}, ""),
        (Scripted(SAID), {"width": 4}, "width"),
        (Scripted(SAID), {"limits": Limits(rpm=60)}, "requests/min"),
        (Scripted(SAID), {"limits": Limits(tpm=6000)}, "tokens/min"),
        (Scripted(SAID), {"limits": Limits(output_tpm=6000)}, "output/min"),
        (Scripted(Transient("HTTP 429", retry_after=30, limited=True)), {}, "paused by the provider for "),
        (Scripted(Transient("down")), {}, "waiting for the provider to come back (probe "),
        (Account(slots=8, says=False), {}, "provider (max throughput at width 8)"),
    ],
)
def test_what_binds(provider, how, binding):
    said = shown(provider, 14.5, **how)
    assert said.startswith(binding)
    assert bool(said) is bool(binding)


def test_readings_of_a_refusal_count():
    busy = Transient("HTTP 429", limited=True)
    busy.readings = (Reading("requests", 60, 0, 60),)
    provider = Scripted(busy, SAID)
    play(provider, seconds=30)
    assert len(provider.asked) < 45
