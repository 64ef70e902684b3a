"""The `provider:` of a job file, or a name in storyd.yaml → settings. Knows no kind but by its module.

What only a kind knows, its module says: SAMPLING and OPTIONS, HOME where its company's servers are, MODEL
where it can do without the job's, and `concurrency` where it answers so many requests at once and no more.
"""

from __future__ import annotations

import importlib
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.parse import urlsplit

from . import jobfile, keys, providers
from .document import Keys, shown
from .fitting import checked, fitted, nearest
from .origin import Origin
from .pricelist import OURS
from .settings import Limits, Price, ProviderSettings, Secret, Timeouts
from .shape import Entry, entries_of
from .sources import content, named
from .yaml12 import LARGEST, read

SERVICE_FILE = Path("configs/storyd.yaml")
PROVIDER: Keys = ("provider",)

_TAKES = {"embedded": {"gguf"}, "fake": set[str](), "": {"url", "key", "launch", "insecure"}}
"""The ways to reach an account that a kind knows; "" stands for any other kind."""
_URL = re.compile(r"[\x21-\x7e]{1,2000}")


@dataclass(frozen=True, slots=True)
class Service:
    """What storyd.yaml says; without one, nothing."""

    origin: Origin
    said: jobfile.ServiceFile


def service(path: Path | None, job: Origin) -> Service:
    """The user's storyd.yaml: the one at `path`, else the working directory's. Raises ConfigError."""
    if path is None and not SERVICE_FILE.is_file():
        return Service(job, jobfile.ServiceFile())
    path = path or SERVICE_FILE
    document = read(content(path, LARGEST + 1), named(path))
    origin = replace(
        job, document=document, folders=(path.parent, *job.folders[1:]), may=frozenset({"launch"})
    )
    return Service(origin, checked(jobfile.ServiceFile, document))


def settings_of(
    origin: Origin, said: str | jobfile.Provider, service: Service, offline: bool
) -> ProviderSettings:
    """How to reach the account that a job file names or describes; `offline` leaves keys alone.

    Raises ConfigError.
    """
    return _account(origin, said, service).resolved(offline)


def _account(origin: Origin, said: str | jobfile.Provider, service: Service) -> _Account:
    if isinstance(said, jobfile.Provider):
        return _Account(origin, PROVIDER, said, said.kind)
    if said in service.said.providers:
        return _Account(service.origin, ("providers", said), service.said.providers[said], said)
    kinds = providers.kinds()
    if said in kinds:
        return _Account(origin, PROVIDER, jobfile.Provider(kind=said), said)
    known = [*service.said.providers, *kinds]
    raise origin.wrong(PROVIDER, f"no provider {shown(said)}", _near_or_all(said, known))


def module_of(kind: str) -> ModuleType:
    """The module of a kind that is known."""
    return importlib.import_module(f"{providers.__name__}.{kind}")


def model_of(account: ProviderSettings) -> str:
    """The model that an account has where a job names none; empty where a job must."""
    if account.gguf:
        return Path(account.gguf).stem
    return str(getattr(module_of(account.kind), "MODEL", account.kind if account.kind in OURS else ""))


@dataclass(frozen=True, slots=True)
class _Account:
    """One account's description, where it stands, and its name."""

    origin: Origin
    at: Keys
    said: jobfile.Provider
    name: str

    def resolved(self, offline: bool) -> ProviderSettings:
        said, at = self.said, self.at
        kinds = providers.kinds()
        if said.kind not in kinds:
            fix = _near_or_all(said.kind, kinds)
            raise self.origin.wrong((*at, "kind"), f"no kind {shown(said.kind)}", fix)
        self._fits()
        urls = self._urls()
        settings = ProviderSettings(
            self.name,
            said.kind,
            urls,
            self._key(urls, offline),
            Limits(**vars(said.limits)),
            Timeouts(**vars(said.timeouts)),
            price_from(said.price),
            said.launch or "",
            str(self.origin.file((*at, "gguf"), said.gguf).absolute()) if said.gguf else "",
            said.insecure,
            self._options(),
        )
        return _bounded(settings)

    def _fits(self) -> None:
        """Refuse what the kind does not know, and commands from files that are not trusted."""
        takes = _TAKES.get(self.said.kind, _TAKES[""])
        for name in ("url", "key", "launch", "gguf", "insecure"):
            if getattr(self.said, name) and name not in takes:
                raise self.origin.wrong(
                    (*self.at, name), f"kind {self.said.kind} does not know it", "remove it"
                )
        if self.said.launch:
            self.origin.trusted((*self.at, "launch"), "launch")

    def _urls(self) -> tuple[str, ...]:
        said = self.said.url
        urls = [said] if isinstance(said, str) else said or []
        for url in urls:
            try:
                _check_url(url)
            except ValueError as error:
                raise self.origin.wrong((*self.at, "url"), str(error)) from None
        return tuple(url.rstrip("/") for url in urls)

    def _key(self, urls: tuple[str, ...], offline: bool) -> Secret | None:
        at = (*self.at, "key")
        reference = self.said.key or self._home_key(urls)
        if reference is None:
            return None
        try:
            keys.check(reference)
        except ValueError as error:
            raise self.origin.wrong(at, str(error)) from None
        self._travels_safely(urls)
        if offline:
            return None
        try:
            return keys.reveal(reference, self.origin.folders[0])
        except ValueError as error:
            fix = "export it, or write it into .env" if reference.startswith("env:") else ""
            raise self.origin.wrong(at if self.said.key else self.at, str(error), fix) from None

    def _home_key(self, urls: tuple[str, ...]) -> str | None:
        """The key that is meant for the kind's own servers: no other host gets it unasked."""
        home = getattr(module_of(self.said.kind), "HOME", "")
        at_home = home and not self.said.launch and all(url.startswith(f"https://{home}/") for url in urls)
        return f"env:{self.said.kind.upper()}_API_KEY" if at_home else None

    def _travels_safely(self, urls: tuple[str, ...]) -> None:
        at = (*self.at, "url")
        for url in urls:
            parts = urlsplit(url)
            if parts.scheme == "http" and not self.said.insecure and not _loopback(parts.hostname or ""):
                what = "the key would travel unencrypted over http://"
                raise self.origin.wrong(at, what, "use https://, or add insecure: true")
        mark = self.origin.document.mark
        if self.said.key and isinstance(mark(at), str) and isinstance(mark((*self.at, "key")), int):
            what = "a key of the file goes only to the url beside it in the file"
            raise self.origin.wrong(at, what, "write the url into the file")

    def _options(self) -> Mapping[str, Any]:
        """What only this kind understands."""
        types: Mapping[str, Any] = module_of(self.said.kind).OPTIONS
        for name in self.said.options:
            if name not in types:
                fix = nearest(name, {*entries_of(jobfile.Provider), *types})
                raise self.origin.wrong((*self.at, name), "unknown key", fix)
        entries = {name: Entry(form, False) for name, form in types.items()}
        return fitted(entries, self.said.options, self.origin.document, self.at)


def _bounded(settings: ProviderSettings) -> ProviderSettings:
    """The settings; where they bound no requests in flight, with as many as the kind says it answers."""
    own = getattr(module_of(settings.kind), "concurrency", None)
    if own is None or settings.limits.concurrency is not None:
        return settings
    return replace(settings, limits=replace(settings.limits, concurrency=own(settings)))


def price_from(said: jobfile.Price | None) -> Price | None:
    """A price of a file."""
    return Price(**vars(said)) if said else None


def _near_or_all(name: str, known: Sequence[str]) -> str:
    return nearest(name, known) or f"there are {', '.join(known)}"


def _check_url(url: str) -> None:
    """Raises ValueError where this is not the address of an API; the message never shows a password."""
    wanted = "expected https://HOST/v1 (or http://)"
    parts = urlsplit(url) if _URL.fullmatch(url) else None
    if parts is None or parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(wanted)
    _ = parts.port
    if parts.username is not None or parts.password is not None:
        raise ValueError("a key itself never stands in a url: write key: env:NAME")
    if parts.query or parts.fragment:
        raise ValueError(f"{wanted}, without ? and #")


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
