"""check a job's files: every index settled exactly once, every hash right"""

from __future__ import annotations

import argparse
import sys

import orjson

from storyd.shards import find
from storyd.verify import Report, verify


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `storyd verify`."""
    parser.add_argument("job", metavar="JOB", help="the job's name")
    parser.add_argument("--quick", action="store_true", help="read seals and sizes only")


def call(args: argparse.Namespace) -> int:
    """0 where all is well, 1 where a file cannot be trusted."""
    report = verify(find(args.dir, args.job), args.quick)
    for note in report.notes:
        print(f"note: {note}", file=sys.stderr)
    for fault in report.faults:
        print(f"storyd: {fault}", file=sys.stderr)
    print(orjson.dumps(_body(args.job, report)).decode() if args.json else _line(args.job, report))
    return 1 if report.faults else 0


def _line(job: str, report: Report) -> str:
    verdict = f"{len(report.faults)} faults" if report.faults else "whole"
    digest = f", digest {report.digest}" if report.digest else ""
    tally = report.tally
    return (
        f"{job}: {verdict}: {report.sealed} shards sealed, {report.open} open; {tally.accepted} accepted, "
        f"{tally.abandoned} abandoned, {report.unsettled} not settled yet, {tally.records} records{digest}"
    )


def _body(job: str, report: Report) -> dict[str, object]:
    return {
        "job": job,
        "ok": not report.faults,
        "sealed": report.sealed,
        "open": report.open,
        "accepted": report.tally.accepted,
        "abandoned": report.tally.abandoned,
        "unsettled": report.unsettled,
        "records": report.tally.records,
        "digest": report.digest or None,
        "faults": report.faults,
        "notes": report.notes,
    }
