"""`openai`: any server of chat completions, one or several replicas of it, OpenAI's own by default.

Knows no limits and no retries: what is over the limit or broken is told to whoever asked.
"""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager

from storyd import wire
from storyd.errors import Fatal, Refused, Transient
from storyd.exchange import Completion, Provider, Reading, Request
from storyd.settings import ProviderSettings, Secret
from storyd.status import redact
from storyd.wire import Client, Reply, Unreached

from . import chat, launch

HOME = "api.openai.com"
SAMPLING = frozenset(
    {
        *("temperature", "top_p", "seed", "stop", "presence_penalty", "frequency_penalty", "logit_bias"),
        *("response_format", "reasoning_effort", "verbosity"),
    }
)
OPTIONS: Mapping[str, type] = {}
READ_EVERY = 0.25
"""Seconds between two looks at the limit headers; those of a refusal are always looked at."""
OLD, NEW = "max_tokens", "max_completion_tokens"
NEWER = re.compile(r"o\d|gpt-(?:[5-9]|\d\d)")
"""The models that OpenAI's own server knows the newer name for; where we do not know, the server tells."""


class Replica:
    """One server. It may move (a child that was started again); while it fails it is left out."""

    def __init__(self, url: str, key: Secret | None = None, *, insecure: bool = False) -> None:
        self.in_flight, self.faults, self.out_until = 0, 0, 0.0
        self._insecure = insecure
        self.move(url, key)

    def move(self, url: str, key: Secret | None = None) -> None:
        """Be found at another address, with another key. Raises ConfigError."""
        self.url = wire.endpoint(url, "chat/completions", key, self._insecure)
        self.headers = {"Authorization": f"Bearer {key.reveal()}"} if key else {}
        self.secrets = (key.reveal(),) if key else ()

    def well(self, now: float) -> bool:
        """Whether to ask it: while it is suspect, one question at a time."""
        return not self.faults or (now >= self.out_until and not self.in_flight)

    def answered(self) -> None:
        """It lives."""
        self.faults, self.out_until = 0, 0.0

    def failed(self, now: float) -> None:
        """It does not: leave it out for half a second, a second, … half a minute."""
        self.faults += 1
        self.out_until = now + min(30.0, 0.25 * 2.0 ** min(self.faults, 8))


class OpenAI:
    """Asks the replica with the fewest requests in flight."""

    def __init__(self, client: Client, replicas: Sequence[Replica], name: str) -> None:
        self._client, self._replicas, self._name = client, replicas, name
        self._loop = asyncio.get_running_loop()
        self._read_at = -math.inf
        self._budgets: dict[str, str] = {}

    async def complete(self, request: Request) -> Completion:
        """Ask once. Raises Transient, Refused or Fatal."""
        try:
            budget = self._budget(request.model)
            reply = await self._ask(request, chat.encode(request, budget))
            if reply.status == 400 and budget == OLD and NEW.encode() in reply.body:
                self._budgets[request.model] = NEW
                reply = await self._ask(request, chat.encode(request, NEW))
            return chat.decode(reply, request, self._readings(reply))
        except (Transient, Refused, Fatal) as error:
            error.where = self._name
            error.what = redact(error.what, self._secrets())
            error.args = (error.what,)
            raise

    async def _ask(self, request: Request, body: bytes) -> Reply:
        tried: list[Replica] = []
        while True:
            replica = self._pick(tried)
            tried.append(replica)
            try:
                return await self._post(replica, request, body)
            except Unreached:
                if not any(other.well(self._loop.time()) for other in self._replicas if other not in tried):
                    raise

    async def _post(self, replica: Replica, request: Request, body: bytes) -> Reply:
        headers = {**replica.headers, "X-Client-Request-Id": request.id}
        replica.in_flight += 1
        try:
            reply = await self._client.post(replica.url, headers, body, chat.bound(request.max_tokens))
        except Transient:
            replica.failed(self._loop.time())
            raise
        finally:
            replica.in_flight -= 1
        if reply.status >= 500:
            replica.failed(self._loop.time())
        elif replica.faults:
            replica.answered()
        return reply

    def _pick(self, tried: Sequence[Replica]) -> Replica:
        if len(self._replicas) == 1:
            return self._replicas[0]
        now = self._loop.time()
        well = [replica for replica in self._replicas if replica not in tried and replica.well(now)]
        if well:
            return min(well, key=lambda replica: replica.in_flight)
        return min(self._replicas, key=lambda replica: replica.out_until)

    def _readings(self, reply: Reply) -> tuple[Reading, ...]:
        now = self._loop.time()
        if now - self._read_at < READ_EVERY and reply.status != 429:
            return ()
        self._read_at = now
        return chat.readings(reply.headers)

    def _budget(self, model: str) -> str:
        """By which name max_tokens is known for a model, as far as is known."""
        known = self._budgets.get(model)
        if known is None:
            at_home = self._replicas[0].url.host == HOME
            known = self._budgets[model] = NEW if at_home and NEWER.match(model) else OLD
        return known

    def _secrets(self) -> Iterator[str]:
        return (secret for replica in self._replicas for secret in replica.secrets)


@asynccontextmanager
async def connect(settings: ProviderSettings) -> AsyncIterator[Provider]:
    """The provider of an account, of a server of our own where it is to be launched.

    Raises ConfigError, and Fatal where a launched server does not come up.
    """
    if settings.launch:
        async with launch.launched(launch.server(settings)) as child, kept(child, settings) as provider:
            yield provider
        return
    urls = settings.urls or (f"https://{HOME}/v1",)
    replicas = [Replica(url, settings.key, insecure=settings.insecure) for url in urls]
    async with wire.client(settings.timeouts) as client:
        yield OpenAI(client, replicas, settings.name)


@asynccontextmanager
async def kept(child: launch.Child, settings: ProviderSettings) -> AsyncIterator[Provider]:
    """The provider of a child, wherever it is started again."""
    replica = Replica(child.url, Secret(child.server.key), insecure=settings.insecure)
    async with wire.client(settings.timeouts) as client:
        yield launch.Kept(child, OpenAI(client, [replica], settings.name), replica.move)
