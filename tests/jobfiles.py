"""A good job file, and how tests break it."""

from pathlib import Path

import pytest

from storyd import config
from storyd.errors import ConfigError

GOOD = """\
name: tiny
stories: 4
provider: fake
prompt:
  template: Write about {adjective} {noun}.
  axes:
    adjective: [no, "on", "true"]
    noun: {file: nouns.txt}
checks:
  - finished
  - words: {min: 2, max: 300}
"""


def folder(tmp_path: Path) -> Path:
    """A folder with what GOOD names."""
    (tmp_path / "nouns.txt").write_text("cat\ndog\n")
    return tmp_path


def write(tmp_path: Path, text: str | bytes) -> Path:
    """The job file."""
    path = folder(tmp_path) / "job.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def load(tmp_path: Path, text: str | bytes = GOOD, **said) -> config.Setup:
    """The setup of a job file with this text."""
    return config.load(write(tmp_path, text), directory=tmp_path / "shards", **said)


def refusal(tmp_path: Path, text: str | bytes, **said) -> str:
    """The line that a job file with this text is refused with, the folder left out."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text, **said)
    return str(caught.value).replace(f"{tmp_path}/", "")
