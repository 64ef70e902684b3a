"""The child that holds an embedded model: llama.cpp's HTTP server on a loopback port of its own.

Knows llama.cpp's settings; knows nothing of storyd, and imports nothing of it: it is run by path, as
`python -P llama.py GGUF SLOTS CTX THREADS`, with its key in STORYD_CHILD_KEY. CTX is in tokens a slot;
THREADS 0 means all cores.
"""

import contextlib
import os
import sys
import threading
from pathlib import Path

KEY = "STORYD_CHILD_KEY"
HOPELESS = 78


def main(gguf: Path, slots: int, ctx: int, threads: int) -> None:
    """Serve until killed."""
    # read by the OpenMP library as it loads: threads that spin at barriers starve each other on busy machines
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    try:
        import xllamacpp  # type: ignore[import-untyped]
    except ImportError as error:
        _give_up(f"xllamacpp does not load: {error}")
    params = xllamacpp.CommonParams()
    params.model.path = str(gguf)
    params.model_alias = {gguf.stem}
    params.api_keys = [os.environ.pop(KEY)]
    params.n_parallel, params.n_ctx = slots, slots * ctx
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = 1, threads or cores()
    params.fit_params = False  # the context stays as asked for
    params.cache_ram_mib = 0  # finished answers are not kept: nobody goes on with them
    params.ui = params.endpoint_slots = False
    params.verbosity = 1  # errors only
    try:
        server = xllamacpp.Server(params)
    except RuntimeError as error:
        _give_up(f"{gguf.name}: {error}")
    print(f"storyd: listening on {server.listening_address}", flush=True)  # noqa: T201
    threading.Event().wait()


def cores() -> int:
    """The processors that this process may use: its affinity, and its container's share of time."""
    count = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):  # "max" where there is no share
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text(encoding="ascii").split()
        count = min(count, max(1, round(int(quota) / int(period))))
    return count


def _give_up(why: str) -> None:
    sys.stderr.write(f"{why}\n")
    sys.exit(HOPELESS)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
