"""The command line: exit codes, and one line for whatever is wrong."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from jobfiles import GOOD, write
from test_broken_jobs import BROKEN

from storyd import cli
from storyd.errors import ConfigError, Damaged, Fatal, Full, Held, Spent


def call(tmp_path: Path, *arguments: str | Path) -> int:
    return cli.main(["--dir", str(tmp_path / "shards"), *map(str, arguments)])


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_job_file_is_one_line_and_exit_2(tmp_path, capsys, monkeypatch, what):
    monkeypatch.chdir(tmp_path)
    assert call(tmp_path, "run", write(tmp_path, BROKEN[what])) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("storyd: ") and err.count("\n") == 1, err
    assert not (tmp_path / "shards").exists(), "something was begun"


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("nonsense",),
        ("run",),
        ("run", "no-such-file.yaml"),
        ("plan", "job.yaml", "--show", "x"),
        ("verify", "nobody"),
        ("verify", "../shards"),
        ("retry", "nobody"),
        ("restart-shard", "nobody", "0"),
        ("tail", "nobody"),
        ("tail",),
        ("init", "no-such-recipe"),
        ("run", "job.yaml", "--shards", "7-9"),
        ("run", "job.yaml", "--shards", "1-0"),
        ("run", "job.yaml", "--shards", "x"),
        ("run", "job.yaml", "--set", "storis=3"),
        ("run", "job.yaml", "--provider", "nobody"),
        ("run", "job.yaml", "--budget-usd", "nan"),
        ("run", "job.yaml", "--budget-usd", "-1"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(tmp_path, capsys, monkeypatch, arguments):
    write(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    assert call(tmp_path, *arguments) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("storyd: ") and err.count("\n") == 1, err


def test_each_error_has_its_exit_code(capsys):
    codes = {
        error: cli.failed(error("what", where="where", fix="how"), False)
        for error in (ConfigError, Damaged, Fatal, Held, Full, Spent)
    }
    assert codes == {ConfigError: 2, Damaged: 1, Fatal: 4, Held: 4, Full: 4, Spent: 4}
    assert capsys.readouterr().err == "storyd: where: what (how)\n" * 6


def test_ours_is_the_error_that_is_told_of_a_group(capsys):
    group = ExceptionGroup("tasks", [ValueError("a"), ExceptionGroup("more", [Fatal("no credit")])])
    assert cli.failed(group, False) == 4
    assert capsys.readouterr().err == "storyd: no credit\n"


def test_a_bug_is_one_line_and_its_traceback_is_there_when_asked_for(capsys):
    def fail() -> int:
        try:
            raise ValueError("a\nb")
        except ValueError as error:
            return cli.failed(error, verbose)

    verbose = False
    assert fail() == 1
    assert capsys.readouterr().err.startswith("storyd: bug: ValueError: a (run it again with -v")
    verbose = True
    assert fail() == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_run_from_plan_to_verify(tmp_path, capsys, monkeypatch):
    job = write(tmp_path, GOOD)
    monkeypatch.chdir(tmp_path)
    assert call(tmp_path, "plan", job) == 0
    assert "4 of 6 different prompts" in capsys.readouterr().out
    assert call(tmp_path, "--json", "plan", job, "--show", "1") == 0
    body = json.loads(capsys.readouterr().out)
    assert body["prompts"][0]["id"] == "tiny/0" and body["plan"]["stories"] == 4
    assert call(tmp_path, "prompts", job, "--from", "1", "--to", "3") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["index"] for line in lines] == [1, 2]
    assert call(tmp_path, "run", job) == 0
    assert capsys.readouterr().out.count("── tiny/") == 1
    assert call(tmp_path, "--json", "verify", "tiny") == 0
    assert json.loads(capsys.readouterr().out)["accepted"] == 4
    assert call(tmp_path, "tail", "--no-follow", "-n", "2", "--json") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_init_lists_recipes_and_writes_one_that_loads(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call(tmp_path, "init") == 0
    assert "tinystories-en" in capsys.readouterr().out
    assert call(tmp_path, "init", "tinystories-en") == 0
    assert call(tmp_path, "run", "tinystories-en.yaml", "--provider", "fake", "--set", "stories=3") == 0
    assert call(tmp_path, "init", "tinystories-en") == 2
    assert "exists already" in capsys.readouterr().err


def test_every_command_has_help_and_none_needs_more_than_the_core(capsys):
    for name, line in cli.command_lines():
        with pytest.raises(SystemExit) as ended:
            cli.main([name, "--help"])
        assert ended.value.code == 0 and line
        assert f"storyd {name}" in capsys.readouterr().out


def test_the_schema_is_json(tmp_path, capsys):
    assert call(tmp_path, "schema") == 0
    assert json.loads(capsys.readouterr().out)["properties"]["stories"]


def command(*arguments: str | Path, **more) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-m", "storyd", *map(str, arguments)], **more)


def test_a_terminal_that_is_not_utf_8_gets_escapes(tmp_path):
    speaks = os.environ | {"PYTHONIOENCODING": "latin-1"}
    with command("plan", write(tmp_path, GOOD), env=speaks, stdout=subprocess.PIPE, cwd=tmp_path) as process:
        assert rb"\u2500\u2500 prompt 0" in process.communicate(timeout=60)[0]
    assert process.returncode == 0


def test_a_reader_that_leaves_does_not_change_the_exit_code(tmp_path):
    job = tmp_path / "shards" / "tiny"
    assert call(tmp_path, "run", write(tmp_path, GOOD)) == 0
    (job / "stories" / "00000.jsonl").write_bytes(b"")
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    out, gone = os.pipe()
    os.close(out)
    streams = {"stdout": gone, "stderr": subprocess.DEVNULL, "env": buffered}
    with command("--dir", tmp_path / "shards", "verify", "tiny", **streams) as process:
        os.close(gone)
        assert process.wait(timeout=60) == 1
