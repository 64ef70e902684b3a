"""Limited: a provider that keeps its account's promises, and waits where the account has to be waited for.

One line, first come first served. Its head goes when nothing holds it: the breaker, a pause that the provider
asked for, the width, the pace of each meter. Whoever changes one of these moves the line, so there is no task
and no polling here, and where nothing holds nobody waits. Knows neither jobs nor formats.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Sequence

import anyio
from anyio.lowlevel import checkpoint_if_cancelled

from .breaker import Breaker
from .errors import Fatal, Refused, Transient, Unanswered
from .exchange import Completion, Provider, Reading, Request, Usage, guess_tokens
from .meter import Meter
from .settings import Limits
from .space import draw
from .width import WIDEST, Width

PAUSE, PAUSE_CAP = 0.5, 60.0
"""Seconds of the first pause after a refusal that names none, doubled while nothing else comes; its cap."""
HEALTH = 32
"""How many of the last outcomes tell whether an account is well."""
TOGETHER = 0.02
"""Seconds between two moves of the line at least: at a high pace several go at once, within BURST."""

_NAMES = {"requests": "requests/min", "tokens": "tokens/min", "input": "input/min", "output": "output/min"}


class _Call:
    """A request that was let go: when, beside how many others, and what it has reserved."""

    __slots__ = ("beside", "generation", "probe", "sent", "taken")

    def __init__(self, sent: float, beside: int, generation: int, probe: bool) -> None:
        self.sent, self.beside, self.generation, self.probe = sent, beside, generation, probe
        self.taken: list[tuple[str, float, float]] = []
        """Meter, units reserved, and all the units reserved so far."""


class Limited:
    """A provider under an account's limits, shared by all that use the account.

    `width` is the number of requests in flight, None to find it. Raises what the provider raises; Fatal too
    where an account that has never answered refuses every question.
    """

    def __init__(self, provider: Provider, limits: Limits, *, width: int | None = None) -> None:
        self._provider = provider
        self._width = Width(min(width or WIDEST, limits.concurrency or width or WIDEST), width is None)
        self._breaker = Breaker()
        self._meters = {
            "requests": Meter((limits.rpm or math.inf) / 60),
            "tokens": Meter((limits.tpm or math.inf) / 60),
            "input": Meter((limits.input_tpm or math.inf) / 60),
            "output": Meter((limits.output_tpm or math.inf) / 60),
        }
        self._active: Sequence[tuple[str, Meter]] = ()
        self._activate()
        self._line: deque[tuple[asyncio.Future[_Call], Request]] = deque()
        self._scopes: set[anyio.CancelScope] = set()
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._why = ""
        self._flying = 0
        self._paused_until = self._cut_at = -math.inf
        self._pauses = self._draws = 0
        self._outcomes, self._seen = 0, 0
        self._ever = False
        self._wordiness = 1.0
        """Output tokens of an answer, as a share of max_tokens."""

    # ── what is shown ─────────────────────────────────────────────────────────────────────────────

    @property
    def in_flight(self) -> int:
        """How many requests are on their way."""
        return self._flying

    @property
    def width(self) -> int:
        """How many may be."""
        return self._width.allowed(self._loop.time())

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return sum(not turn.done() for turn, _ in self._line)

    @property
    def binding(self) -> str:
        """What holds up the head of the line, in a few words; "" where nothing does."""
        now = self._loop.time()
        wait, why = self._held(now)
        if not self.waiting and not self._breaker.open:
            return ""
        match why or self._why:
            case "breaker":
                return f"waiting for the provider to come back (probe {self._breaker.probes + 1})"
            case "pause":
                return f"paused by the provider for {math.ceil(wait)} s"
            case "width" if self._width.size >= self._width.ceiling:
                return "width"
            case "width" if self._width.mode == "hold":
                return f"provider (max throughput at width {self.width})"
            case "width":
                return f"width (growing, {self.width})"
        return _NAMES.get(why or self._why, "")

    # ── asking ────────────────────────────────────────────────────────────────────────────────────

    async def complete(self, request: Request) -> Completion:
        """Ask once, when it may be asked. What was sent is shielded from cancellation: see stop()."""
        # a hand that never waits would otherwise go from one shield into the next, cancelled or not
        await checkpoint_if_cancelled()
        now = self._loop.time()
        if self._line or self._held(now)[0] > 0:
            call = await self._turn(request)
        else:
            call = self._go(request, now)
        scope = anyio.CancelScope(shield=True)
        self._scopes.add(scope)
        try:
            with scope:
                completion = await self._provider.complete(request)
        except Unanswered as error:
            raise self._unanswered(call, error) from None
        except BaseException:
            self._drop(call)
            raise
        finally:
            self._scopes.discard(scope)
        # no await from here on: what was paid for reaches the ledger
        self._answered(call, request, completion)
        return completion

    def stop(self) -> None:
        """Let go of what is in flight too: its surroundings' cancellation reaches it now."""
        for scope in list(self._scopes):
            scope.shield = False

    async def _turn(self, request: Request) -> _Call:
        turn: asyncio.Future[_Call] = self._loop.create_future()
        self._line.append((turn, request))
        self._move()
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self._drop(turn.result())
            raise

    def _move(self) -> None:
        """Let go of as many as may go; come back when the next may."""
        line = self._line
        while line:
            turn, request = line[0]
            if not turn.done():
                now = self._loop.time()
                wait, why = self._held(now)
                if wait > 0:
                    self._why = why
                    self._wake(now, wait)
                    return
                turn.set_result(self._go(request, now))
            line.popleft()

    def _wake(self, now: float, wait: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if math.isinf(wait) else self._loop.call_at(now + max(wait, TOGETHER), self._move)

    def _held(self, now: float) -> tuple[float, str]:
        """How long the next request has to wait, and for what; inf: until something happens."""
        if self._breaker.open and (wait := self._breaker.wait(now)) > 0:
            return wait, "breaker"
        if now < self._paused_until:
            return self._paused_until - now, "pause"
        if self._flying >= (allowed := self._width.allowed(now)):
            return (0.1 if allowed < self._width.size else math.inf), "width"
        longest, why = 0.0, ""
        for name, meter in self._active:
            if (wait := meter.wait(now)) > longest:
                longest, why = wait, name
        return longest, why

    def _go(self, request: Request, now: float) -> _Call:
        self._flying += 1
        call = _Call(now, self._flying, self._width.generation, self._breaker.sent())
        for name, meter in self._active:
            units = self._cost(name, request)
            meter.take(now, units)
            call.taken.append((name, units, meter.spent))
        return call

    def _cost(self, name: str, request: Request) -> float:
        """What a request will be charged: OpenAI's way for all tokens, likely use for the output alone."""
        if name == "requests":
            return 1.0
        if name == "output":
            return self._wordiness * request.max_tokens
        asked = sum([guess_tokens(said) for _, said in request.messages])
        return asked if name == "input" else asked + request.max_tokens

    # ── what comes of it ──────────────────────────────────────────────────────────────────────────

    def _drop(self, call: _Call) -> None:
        """It was not sent, or cancelled on its way: nothing is learned from it."""
        if call.probe:
            self._breaker.abandoned()
        self._landed()

    def _landed(self) -> None:
        self._flying -= 1
        if self._line:
            self._move()

    def _answered(self, call: _Call, request: Request, completion: Completion) -> None:
        now = self._loop.time()
        usage = completion.usage
        self._alive(now, completion.readings, call)
        self._pauses = 0
        self._ever = True
        self._outcome(True)
        self._width.answered(call.generation, self._flying, usage.output, now - call.sent)
        if call.taken:
            self._wordiness += 0.1 * (min(1.0, usage.output / max(1, request.max_tokens)) - self._wordiness)
            for name, units, _ in call.taken:
                self._settle(self._meters[name], name, units, usage)
        self._landed()

    def _settle(self, meter: Meter, name: str, units: float, usage: Usage) -> None:
        """Correct what was reserved by what was used, where the provider does so too."""
        if name == "output":
            meter.give_back(units - usage.output)
        elif name == "input":
            meter.give_back(units - (usage.input - usage.cached))
        if meter.healing:
            meter.refresh(self._loop.time())

    def _unanswered(self, call: _Call, error: Unanswered) -> Transient | Refused | Fatal:
        """What an error means for the account, and for whoever asked."""
        now = self._loop.time()
        told: Transient | Refused | Fatal
        match error:
            case Transient(limited=True):
                self._alive(now, error.readings, call)
                self._slow(call, error, now)
                told = error
            case Transient():
                error.own = 2 * self._outcomes.bit_count() >= self._seen > 0
                self._outcome(False)
                self._fault(call, now, error.retry_after, refused=False)
                told = error
            case Refused(certain=False) if not self._ever:
                self._fault(call, now, 0.0, refused=True)
                told = self._doubted(error)
            case Refused():
                self._alive(now, (), call)
                told = error
            case _:
                raise TypeError(f"neither Transient nor Refused: {error!r}")
        self._landed()
        return told

    def _fault(self, call: _Call, now: float, retry_after: float, *, refused: bool) -> None:
        self._breaker.fault(now, self._jitter(), retry_after, probe=call.probe, refused=refused)

    def _doubted(self, refusal: Refused) -> Transient | Fatal:
        """An account that has answered nothing yet refuses: this question, or every question?"""
        if self._breaker.refused:
            fix = "this provider refuses every question: check model and sampling"
            return Fatal(refusal.what, where=refusal.where, fix=fix)
        weather = Transient(refusal.what)
        weather.where = refusal.where
        return weather

    def _alive(self, now: float, readings: Sequence[Reading], call: _Call) -> None:
        """The account speaks."""
        if self._breaker.answered():
            self._width.restart(now)
        for reading in readings:
            spent = next((spent for name, _, spent in call.taken if name == reading.meter), None)
            meter = self._meters[reading.meter]
            meter.read(reading, call.sent, meter.spent if spent is None else spent, now)
        if readings:
            self._activate()

    def _activate(self) -> None:
        self._active = tuple((name, meter) for name, meter in self._meters.items() if meter.rate < math.inf)

    def _slow(self, call: _Call, refusal: Transient, now: float) -> None:
        """The provider says: too many. Pause all, and go on slower; once for all that were sent before."""
        fresh = call.sent >= self._cut_at
        if fresh:
            bound = [meter for _, meter in self._active if meter.due > now]
            for meter in bound:
                meter.cut(now)
            if not bound:
                self._width.cut(call.beside)
            self._cut_at = now
            self._pauses += 1
        if refusal.retry_after:
            pause = refusal.retry_after * (1 + self._jitter() / 4)
        else:
            pause = (0.75 + self._jitter() / 4) * min(PAUSE_CAP, PAUSE * 2.0 ** min(self._pauses - 1, 16))
        if fresh or refusal.retry_after:
            self._paused_until = max(self._paused_until, now + pause)

    def _outcome(self, well: bool) -> None:
        self._outcomes = (self._outcomes << 1 | well) & ((1 << HEALTH) - 1)
        self._seen = min(HEALTH, self._seen + 1)

    def _jitter(self) -> float:
        """From [0, 1), the same in every run."""
        self._draws += 1
        return draw(0, self._draws, "jitter") / 2**64
