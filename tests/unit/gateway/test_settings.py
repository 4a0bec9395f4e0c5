"""The gateway's settings: which models are allowed, and what a wrong setting says."""

from pathlib import Path

import pytest
from gateway.auth import warn_if_open
from gateway.main import create_app
from gateway.setting_types import told
from gateway.settings import OPENAI_NAMES, OWN_PATHS, Settings
from pydantic import ValidationError
from pydantic_settings import BaseSettings
from worker.settings import Settings as WorkerSettings


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)  # for a .env of a test's own


def test_the_models_that_the_worker_is_told_to_serve_are_allowed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("WHISPER_MODELS", "small, org/name@v2")
    assert Settings().allowed_models == ["small", "org/name"]
    monkeypatch.setenv("ALLOWED_MODELS", "")
    assert Settings().allowed_models == ["small", "org/name"]
    monkeypatch.setenv("ALLOWED_MODELS", "org/name@v2")
    assert Settings().allowed_models == ["org/name"]


def test_a_file_beside_the_environment_counts_too(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("WHISPER_MODELS=micro\n")
    assert Settings().allowed_models == ["micro"]
    (tmp_path / ".env").write_text("WHISPER_MODELS=micro\nALLOWED_MODELS=small\n")
    assert Settings().allowed_models == ["small"]


def test_what_a_wrong_setting_says_tells_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("API_KEY", "sk-secret")
    monkeypatch.setenv("WORKER_TOKEN", "wt-secret")
    monkeypatch.setenv("MODEL_ALIASES", '{"whisper-1": "huge"}')
    with pytest.raises(ValidationError, match="'huge', which is not in ALLOWED_MODELS") as failure:
        Settings()
    assert "secret" not in str(failure.value)


def test_a_secret_has_no_line_end_and_no_blanks_around_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Kubernetes passes a secret on with the line end of the file that it was made from."""
    monkeypatch.setenv("API_KEY", "key\n")
    monkeypatch.setenv("WORKER_TOKEN", " to ken\r\n")
    assert Settings().api_key.get_secret_value() == "key"
    assert Settings().worker_token.get_secret_value() == "to ken"
    assert WorkerSettings().worker_token.get_secret_value() == "to ken"


@pytest.mark.parametrize("name", ["API_KEY", "WORKER_TOKEN"])
def test_a_secret_of_blanks_does_not_turn_the_check_off(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, "")
    assert getattr(Settings(), name.lower()).get_secret_value() == ""
    monkeypatch.setenv(name, "\n")
    for settings in (Settings, WorkerSettings) if name == "WORKER_TOKEN" else (Settings,):
        with pytest.raises(ValidationError, match="is blank"):
            settings()


@pytest.mark.parametrize("character", ["\n", "\r", "\0", "\t", "\x7f"])
@pytest.mark.parametrize(
    ("settings", "name"),
    [(Settings, "api_key"), (Settings, "worker_token"), (WorkerSettings, "worker_token")],
)
def test_a_secret_that_no_header_can_hold_is_refused_by_name_and_not_shown(
    settings: type[BaseSettings], name: str, character: str
) -> None:
    with pytest.raises(ValidationError, match="control character inside") as failure:
        settings(**{name: f"my{character}secret"})
    assert name in str(failure.value)
    assert "secret" not in str(failure.value)


def test_origins_are_as_browsers_send_them(monkeypatch: pytest.MonkeyPatch) -> None:
    given = (
        "https://a.example/, https://B.example:443, http://c.example:80, http://d.example:443, *"
    )
    monkeypatch.setenv("CORS_ALLOW_ORIGINS", given)
    assert Settings().cors_allow_origins == [
        "https://a.example",
        "https://b.example",
        "http://c.example",
        "http://d.example:443",
        "*",
    ]


def test_the_whitelist_wins_over_the_workers_models_wherever_each_is_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert Settings().allowed_models == ["small", "medium", "large-v3", "large-v3-turbo"]
    monkeypatch.setenv("WHISPER_MODELS", "micro,org/name@main")
    assert Settings().allowed_models == ["micro", "org/name"]
    (tmp_path / ".env").write_text("ALLOWED_MODELS=small\n")
    assert Settings().allowed_models == ["small"]


@pytest.mark.parametrize("path", ["/a//b", "/a/./b", "/..", "/a/", "a", "/a b", "/"])
def test_a_sub_path_that_no_request_can_have_is_refused(path: str) -> None:
    with pytest.raises(ValidationError, match="is no path such as /asr"):
        Settings(root_path=path)
    assert Settings(root_path="/a/..b/c.d").root_path == "/a/..b/c.d"


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ALLOWED_MODELS", ",", "ALLOWED_MODELS: List should have at least 1 item"),
        ("MAX_UPLOAD_BYTES", "0", "MAX_UPLOAD_BYTES: Input should be greater than 0"),
        ("CORS_ALLOW_ORIGINS", "app.example", "CORS_ALLOW_ORIGINS: 'app.example' is no origin"),
        ("CORS_ALLOW_ORIGINS", "https://a?x", "CORS_ALLOW_ORIGINS: 'https://a?x' is no origin"),
        (
            "FORWARDED_ALLOW_IPS",
            "172.16.0.1/12",
            "FORWARDED_ALLOW_IPS: 172.16.0.1/12 has host bits",
        ),
        ("FORWARDED_ALLOW_IPS", "proxy", "FORWARDED_ALLOW_IPS: 'proxy' does not appear to be"),
        ("MODEL_ALIASES", '{"a": "b"}', "MODEL_ALIASES: 'a' stands for 'b', which is not in"),
    ],
)
def test_a_value_that_would_refuse_everything_or_match_nothing_is_refused_in_one_line(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, said: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError) as failure:
        Settings()
    assert told(failure.value).startswith(said)
    assert "\n" not in told(failure.value)
    assert "pydantic" not in told(failure.value)


@pytest.mark.parametrize("value", ["*", "127.0.0.1,::1", "10.0.0.0/8, fd00::/8", "127.0.0.1,"])
def test_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("FORWARDED_ALLOW_IPS", value)
    assert Settings().forwarded_allow_ips == value


def test_a_sub_path_that_one_of_the_gateways_own_begins_with_is_refused() -> None:
    assert Settings(root_path="/asr/v1").root_path == "/asr/v1"
    app = create_app(Settings())
    paths = {*app.openapi()["paths"], *(getattr(route, "path", "") for route in app.routes)} - {""}
    assert {path.split("/")[1] for path in paths} == OWN_PATHS
    for path in paths:
        first = "/" + path.split("/")[1]
        for root_path in (first, f"{first}/asr"):
            with pytest.raises(ValidationError, match=f"own begins with '{first}'"):
                Settings(root_path=root_path)


def test_an_alias_that_would_never_be_looked_up_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_MODELS", "small,large-v3")
    monkeypatch.setenv("MODEL_ALIASES", '{"small": "large-v3"}')
    with pytest.raises(ValidationError, match="'small' is itself in ALLOWED_MODELS"):
        Settings()
    monkeypatch.setenv("MODEL_ALIASES", '{"small": "small", "s": "small"}')
    assert Settings().aliases == {"small": "small", "s": "small"}


def test_a_model_may_have_a_name_of_openai(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOWED_MODELS", "small,whisper-1")
    assert Settings().aliases == dict.fromkeys(OPENAI_NAMES, "small")


@pytest.mark.parametrize(
    ("key", "warning"),
    [
        ("", "API_KEY IS EMPTY"),
        (None, "API_KEY IS THE PUBLISHED DEFAULT"),
        ("change-me", "API_KEY IS THE PUBLISHED DEFAULT"),
        ("my own", None),
    ],
)
def test_a_key_that_keeps_nobody_out_is_warned_of(
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    key: str | None,
    warning: str | None,
) -> None:
    if key is not None:
        monkeypatch.setenv("API_KEY", key)
    warn_if_open(Settings())
    said = [record.getMessage() for record in caplog.records]
    assert [line.partition(":")[0].partition(",")[0] for line in said] == [warning] * bool(warning)
