"""The keys of a job file and of storyd.yaml, and what each holds. Knows no file's path and no provider.

What only a provider, a check or a runner can judge is left to them; here it is any JSON value. `shape` reads
the annotations, so they are types and not text; a text among them is a description for editors.
"""

import re
from dataclasses import field
from typing import Annotated, Any, ClassVar, Literal

from .shape import REST, Like, Sized, Within, shape

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
"""A job's name."""
Trust = Literal["launch", "python"]
"""What a job file may run on this machine where it is trusted."""

Positive = Annotated[float, Within(above=0)]
Amount = Annotated[float, Within(least=0)]
Share = Annotated[float, Within(least=0, most=1)]
Count = Annotated[int, Within(least=1)]
SlotName = Annotated[str, Like("[a-z_][a-z0-9_]*")]
Words = Annotated[str, Sized(1)]
Strings = Annotated[list[str], Sized(1)]
Step = str | Annotated[dict[str, Any], Sized(1, 1)]
"""A name, or one name with its arguments."""


@shape
class Limits:
    """What the account allows; what is absent is learned from the provider's answers."""

    rpm: Annotated[Positive | None, "requests a minute"] = None
    tpm: Annotated[Positive | None, "tokens a minute, in and out"] = None
    input_tpm: Annotated[Positive | None, "input tokens a minute"] = None
    output_tpm: Annotated[Positive | None, "output tokens a minute"] = None
    concurrency: Annotated[Count | None, "requests in flight"] = None


@shape
class Timeouts:
    """Seconds."""

    connect: Positive = 10.0
    first_byte: Positive = 300.0
    total: Positive = 600.0


@shape
class Price:
    """US dollars per million tokens."""

    input: Amount
    output: Amount
    cached: Annotated[Amount | None, "input read from a cache; else as input"] = None
    cache_write: Annotated[Amount | None, "input written to a cache; else as input"] = None


@shape
class Provider:
    """How to reach one account."""

    kind: Annotated[str, "openai (any OpenAI-compatible server), embedded, simulator, fake"]
    url: Annotated[Words | Strings | None, "where it answers, up to and with /v1; several are replicas"] = (
        None
    )
    key: Annotated[str | None, "env:NAME, cred:NAME or file:PATH; never the key itself"] = None
    limits: Limits = Limits()
    timeouts: Timeouts = Timeouts()
    price: Price | None = None
    launch: Annotated[Words | None, "a command that starts the server; needs --trust"] = None
    gguf: Annotated[Words | None, "a model file, for kind embedded"] = None
    insecure: Annotated[bool, "send the key over http:// too"] = False
    options: Annotated[dict[str, Any], REST] = field(default_factory=dict)
    """What only its kind understands."""


@shape
class Source:
    """Values that are kept elsewhere: exactly one of file and job."""

    file: Annotated[str | None, "one value a line, # comments; .json and .yaml with `key`"] = None
    key: Annotated[str | None, "the list's key in a .json or .yaml file"] = None
    job: Annotated[str | None, "the accepted stories of a finished job"] = None


@shape
class Axis(Source):
    """Where an axis takes its values from (one of file, job, values and from), and how many at once."""

    values: list[str] | None = None
    from_: Annotated[list[str] | Source | None, "a list, or where to find one"] = None
    choose: Annotated[
        Annotated[int, Within(least=0)]
        | Annotated[list[Annotated[int, Within(least=0)]], Sized(2, 2)]
        | None,
        "this many different ones, or [least, most]",
    ] = None
    join: Annotated[str, "stands between the chosen values in the text"] = ", "
    weights: Annotated[list[Amount] | None, "one a value; for draw: independent"] = None


@shape
class Prompts:
    """Prompts that exist already."""

    file: Annotated[str, "JSONL: one JSON object a line"]
    traits: Annotated[list[SlotName], "fields of each line that are kept as traits"] = field(
        default_factory=list
    )
    field: Annotated[str, "the field of each line that holds the prompt"] = "prompt"


@shape
class Records:
    """One prompt per record of another job."""

    job: str
    template: Annotated[str, "its slots are {story}, {id} and the record's traits"]


@shape
class Examples:
    """Conversations that are put before every prompt."""

    file: Annotated[str, "JSON: a list of conversations, each a list of {role, content}"]
    k: Annotated[Count, "how many of them"] = 1
    pick: Annotated[str, "first or seeded"] = "first"


@shape
class Message:
    """One message of an example."""

    role: Literal["user", "assistant"]
    content: str


@shape
class Prompt:
    """What is asked: exactly one of template (with its axes), prompts and records."""

    draw: Annotated[
        Literal["unique", "independent", "ordered"] | None,
        "unique: no combination twice (default); ordered (default of prompts and records)",
    ] = None
    repeats: Annotated[Count, "ask each prompt this often"] = 1
    system: str = ""
    template: Annotated[str | None, "text with {slots}; [[ … ]] vanishes where its slots are empty"] = None
    axes: Annotated[dict[SlotName, list[str] | Axis], "the values of every slot"] = field(
        default_factory=dict
    )
    prompts: Prompts | None = None
    records: Records | None = None
    examples: Examples | None = None
    prefill: Annotated[str, "the answer starts with this"] = ""


@shape
class Sampling:
    """How the model draws. What the provider does not know is refused."""

    max_tokens: Annotated[int, Within(least=1, most=1_000_000)] = 400
    seed: Annotated[
        Annotated[int, Within(least=0)] | Literal["auto"] | None,
        "auto: another for every question, derived from the job's seed",
    ] = None
    temperature: Amount | None = None
    top_p: Annotated[float, Within(above=0, most=1)] | None = None
    top_k: Annotated[int, Within(least=0)] | None = None
    min_p: Share | None = None
    repetition_penalty: Positive | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    stop: Words | Strings | None = None
    extra: Annotated[dict[str, Any], "passed on to the provider as it is"] = field(default_factory=dict)
    options: Annotated[dict[str, Any], REST] = field(default_factory=dict)
    """What only some provider understands."""


@shape
class Answer:
    """Where the stories are in an answer: exactly one of json, list and split."""

    json_: Annotated[str | None, "the field of the JSON object that is the answer"] = None
    list_: Annotated[str | None, "a story per line of a list: numbered, bulleted or lines"] = None
    min: Annotated[Count | None, "with list and split: fewer make the answer invalid"] = None
    split: Annotated[Words | None, "the text between two stories"] = None


@shape
class Retry:
    """How often an index is asked again."""

    LATER: ClassVar = frozenset({"then"})

    invalid: Annotated[Count, "invalid answers before it is abandoned"] = 5
    transient: Annotated[Count, "faults of its own in one round, of two"] = 20
    feedback: Annotated[bool, "show the model its invalid answer and the reasons"] = False
    tolerate: Annotated[Share, "the share that may be abandoned without exit code 3"] = 0.01


@shape
class Budget:
    """What the job may spend in all."""

    LATER: ClassVar = frozenset({"finish"})

    usd: Positive | None = None
    tokens: Count | None = None


@shape
class JobFile:
    """A storyd job: what to make."""

    LATER: ClassVar = frozenset({"diversity", "needs", "score"})

    name: Annotated[str, Like(NAME.pattern), "the folder's name"]
    seed: Annotated[int, Within(least=0)] = 1
    stories: Annotated[Count | None, "how many prompts; may be absent with prompts and records"] = None
    shard_size: Annotated[int, Within(least=1, most=1_000_000)] = 1000
    provider: str | Provider
    model: Words | None = None
    mode: Literal["live", "batch"] = "live"
    prompt: Prompt
    sampling: Sampling = Sampling()
    answer: Literal["text"] | Answer = "text"
    clean: Annotated[list[Step], "cleaning steps by name, in order"] = field(default_factory=list)
    checks: Annotated[list[Step], "what a story must pass, by name"] = field(
        default_factory=lambda: ["finished"]
    )
    retry: Retry = Retry()
    width: Annotated[
        Literal["auto"] | Annotated[int, Within(least=1, most=100_000)], "requests in flight"
    ] = "auto"
    budget: Budget = Budget()
    price: Annotated[Price | None, "of this job's model, where the list is wrong"] = None
    then: Annotated[list[Step], "runners, in order"] = field(default_factory=list)


@shape
class ServiceFile:
    """storyd.yaml: accounts that jobs name, and what job files may do on this machine."""

    providers: Annotated[dict[str, Provider], "name → account"] = field(default_factory=dict)
    allow: Annotated[list[Trust], "what a job file may use without --trust"] = field(default_factory=list)
