import pytest

from storyd import keys
from storyd.keys import check, dotenv, reveal


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    return tmp_path


def why(call, *arguments) -> str:
    with pytest.raises(ValueError) as caught:
        call(*arguments)
    return str(caught.value)


@pytest.mark.parametrize("said", ["sk-live-123", "Env:X", "", "password: 7", "env:", "\n"])
def test_a_literal_key_is_refused_and_not_shown(said):
    reason = why(check, said)
    assert reason.startswith("a key itself never stands in a file: write env:NAME")
    assert not said.rstrip(":\n") or said.rstrip(":") not in reason.replace("env:NAME", "")


@pytest.mark.parametrize("said", ["env:A-B", "env:sk live", "cred:../x", "cred:..", "cred:a/b"])
def test_a_reference_that_cannot_be_one_is_refused_and_not_shown(said):
    assert said.partition(":")[2] not in why(check, said)


def test_env_reads_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("MY_KEY", "sk-1")
    check("env:MY_KEY")
    assert reveal("env:MY_KEY", tmp_path).reveal() == "sk-1"


def test_env_reads_dotenv_in_the_working_directory_but_the_environment_wins(here, monkeypatch):
    (here / ".env").write_text("MY_KEY=from-file\n")
    assert reveal("env:MY_KEY", here).reveal() == "from-file"
    monkeypatch.setenv("MY_KEY", "from-environment")
    assert reveal("env:MY_KEY", here).reveal() == "from-environment"


def test_dotenv_knows_export_quotes_and_comments(here):
    (here / ".env").write_bytes(
        b"\xef\xbb\xbfA=1\r\n# B=2\nexport C = 'a # b'\n\nD=\"x\"\nE=plain # why\nbroken line\n\xff\nF=\n"
    )
    assert dotenv(here / ".env") == {"A": "1", "C": "a # b", "D": "x", "E": "plain", "F": ""}


def test_no_dotenv_is_no_variables(here):
    assert dotenv(here / ".env") == {}


@pytest.mark.parametrize("value", ["", None])
def test_an_unset_variable_is_told_by_name(monkeypatch, here, value):
    if value is not None:
        monkeypatch.setenv("MY_KEY", value)
    assert why(reveal, "env:MY_KEY", here) == "the environment variable MY_KEY is not set"


def test_cred_reads_a_systemd_credential(here, monkeypatch):
    (here / "openai").write_text("sk-2\n")
    assert "CREDENTIALS_DIRECTORY" in why(reveal, "cred:openai", here)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(here))
    assert reveal("cred:openai", here).reveal() == "sk-2"


def test_file_begins_in_the_folder_of_the_file_that_names_it(here):
    (here / "deep").mkdir()
    (here / "deep" / "key").write_text("sk-3\n")
    assert reveal("file:key", here / "deep").reveal() == "sk-3"
    assert why(reveal, "file:nokey", here) == "there is no such file"
    assert why(reveal, "file:deep", here) == "there is no such file"
    assert "\0" not in why(reveal, "file:a\0b", here)


@pytest.mark.parametrize(
    "content", [b"two words", b"line\nbreak", b"\xff\xfe", b"", b"sk-\xc3\xa9", b"x" * 99_999]
)
def test_what_cannot_be_sent_as_a_header_is_no_key_and_is_not_shown(here, content):
    (here / "key").write_bytes(content)
    if len(content) > keys.LONGEST:
        assert len(reveal("file:key", here).reveal()) == keys.LONGEST
    else:
        assert why(reveal, "file:key", here) == "holds no key: one word of ASCII is wanted"


def test_a_secret_is_never_printed(monkeypatch, here):
    monkeypatch.setenv("MY_KEY", "sk-4")
    secret = reveal("env:MY_KEY", here)
    assert "sk-4" not in f"{secret!r} {secret} {[secret]}"
