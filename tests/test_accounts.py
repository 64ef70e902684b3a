import pytest
from jobfiles import GOOD, load, refusal

KEY = "sk-live-1234"


def said(provider: str) -> str:
    return GOOD.replace("provider: fake", f"provider: {provider}") + "model: m\n"


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("MY_KEY", KEY)


def account(tmp_path, provider: str, **more):
    return load(tmp_path, said(provider), **more).provider


@pytest.mark.parametrize(
    "provider", ["openai", "{kind: openai}", "{kind: openai, url: 'https://api.openai.com/v1'}"]
)
def test_a_kinds_own_servers_get_the_key_that_is_meant_for_them(tmp_path, provider):
    assert account(tmp_path, provider).key.reveal() == KEY


@pytest.mark.parametrize(
    "url",
    [
        "https://gpu1.example/v1",
        "https://api.openai.com.evil.example/v1",
        "https://api.openai.com@evil.example/v1",
        "http://api.openai.com/v1",
        "http://127.0.0.1:8000/v1",
    ],
)
def test_no_other_server_gets_a_key_unasked(tmp_path, url):
    if "@" in url:
        assert "a key itself never stands in a url" in refusal(
            tmp_path, said(f"{{kind: openai, url: '{url}'}}")
        )
    else:
        assert account(tmp_path, f"{{kind: openai, url: '{url}'}}").key is None


@pytest.mark.parametrize("host", ["127.0.0.1:80", "localhost:8000", "[::1]:8000", "127.9.9.9"])
def test_a_key_may_travel_over_http_on_this_machine(tmp_path, host):
    assert account(tmp_path, f"{{kind: openai, url: 'http://{host}/v1', key: env:MY_KEY}}").key is not None


@pytest.mark.parametrize("host", ["x.example", "10.0.0.1", "localhost.example", "0x7f.1"])
def test_a_key_travels_over_http_elsewhere_only_when_told_to(tmp_path, host):
    provider = f"{{kind: openai, url: 'http://{host}/v1', key: env:MY_KEY%s}}"
    assert "would travel unencrypted" in refusal(tmp_path, said(provider % ""))
    assert account(tmp_path, provider % ", insecure: true").insecure


def test_urls_may_be_several(tmp_path):
    urls = account(tmp_path, "{kind: openai, url: ['http://127.0.0.1:1/v1/', 'http://127.0.0.1:2/v1']}").urls
    assert urls == ("http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1")


def test_a_key_may_be_kept_in_a_file_beside_the_job(tmp_path):
    (tmp_path / "key").write_text(f"{KEY}\n")
    assert account(tmp_path, "{kind: openai, url: 'https://x.example/v1', key: file:key}").key.reveal() == KEY


def test_offline_no_key_is_looked_for(tmp_path, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    assert account(tmp_path, "openai", offline=True).key is None
    assert "a key itself never stands" in refusal(tmp_path, said("{kind: openai, key: sk-1}"), offline=True)


def test_a_key_is_nowhere_in_what_is_printed_or_kept(tmp_path):
    setup = load(tmp_path, said("{kind: openai, url: 'https://x.example/v1', key: env:MY_KEY}"))
    assert setup.provider.key.reveal() == KEY
    assert KEY not in f"{setup!r}{setup.frozen}{setup.job.fingerprint}"
    assert setup.frozen["provider"]["key"] == "env:MY_KEY"


def test_launch_needs_trust_or_the_leave_of_storyd_yaml(tmp_path):
    provider = "{kind: openai, launch: vllm serve m}"
    assert account(tmp_path, provider, trust=True).launch == "vllm serve m"
    (tmp_path / "configs").mkdir()
    service = tmp_path / "configs" / "storyd.yaml"
    service.write_text("allow: [python]")
    assert "launch: runs what the file says" in refusal(tmp_path, said(provider))
    service.write_text("allow: [launch]")
    assert account(tmp_path, provider).launch == "vllm serve m"


def test_an_account_of_storyd_yaml_may_launch(tmp_path):
    (tmp_path / "configs").mkdir()
    (tmp_path / "configs" / "storyd.yaml").write_text(
        "providers: {mine: {kind: openai, launch: vllm serve m}}"
    )
    found = account(tmp_path, "mine")
    assert (found.name, found.launch, found.key) == ("mine", "vllm serve m", None)


def test_a_model_file_is_found_and_names_the_model(tmp_path):
    (tmp_path / "tiny-1.gguf").write_bytes(b"GGUF")
    text = GOOD.replace("provider: fake", "provider: {kind: embedded, gguf: tiny-1.gguf, slots: 4}")
    setup = load(tmp_path, text)
    assert setup.provider.gguf == str(tmp_path / "tiny-1.gguf")
    assert (setup.job.model, setup.provider.options) == ("tiny-1", {"slots": 4})


@pytest.mark.parametrize("kind", ["embedded", "fake", "simulator"])
def test_our_own_kinds_need_no_model(tmp_path, kind):
    setup = load(tmp_path, GOOD.replace("fake", kind))
    assert setup.job.model
    assert setup.price is not None and setup.price.output == 0
