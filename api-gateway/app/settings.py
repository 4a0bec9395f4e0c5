"""The gateway's settings, all from the environment or `.env`; each docstring is its documentation."""

import re
from ipaddress import ip_network
from typing import Any

from pydantic import (
    ByteSize,
    Field,
    HttpUrl,
    PositiveFloat,
    SecretStr,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, SettingsConfigDict

from .setting_types import LogLevel, Names, Secret, UploadLimit

OPENAI_NAMES = [
    "whisper-1",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
    "gpt-transcribe",
]
PUBLISHED_KEY = "change-me"
_ORIGIN = re.compile(r"\*|null|[a-z][a-z0-9+.-]*://[^/?#\s]+")
USUAL_PORTS = {"http": ":80", "https": ":443"}
_ROOT_PATH = re.compile(r"(/(?!\.{1,2}(/|$))[\w.~-]+)*")
OWN_PATHS = frozenset(
    {
        *("transcribe", "detect-language", "v1", "health", "livez", "readyz"),
        *("docs", "redoc", "openapi.json", "static-offline-docs"),
    }
)
"""What the gateway's own paths begin with."""


class _Key(BaseSettings):
    """API_KEY alone: set to nothing it says something, where other settings then have their default."""

    model_config = SettingsConfigDict(env_file=".env", extra="ignore")
    api_key: Secret = SecretStr(PUBLISHED_KEY)


class _Models(BaseSettings):
    """The worker's WHISPER_MODELS, for where ALLOWED_MODELS is set nowhere: as its alias one of another source would win."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore")
    whisper_models: Names = ["small", "medium", "large-v3", "large-v3-turbo"]


class Settings(BaseSettings):
    """What the gateway can be told."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,  # the input holds secrets
        use_attribute_docstrings=True,
    )

    api_gateway_host: str = "0.0.0.0"
    """Address that the gateway listens on."""
    api_gateway_port: int = Field(8081, ge=0, le=65535)
    """Port that the gateway listens on."""
    api_key: Secret = Field(default_factory=lambda: _Key().api_key)
    """Bearer key that clients must show; empty turns the check off."""
    allowed_models: Names = Field(
        default_factory=lambda: _Models().whisper_models, min_length=1, validate_default=True
    )
    """Models that clients may use; others are 404. Unset, the worker's WHISPER_MODELS where it is known here."""
    model_aliases: dict[str, str] | None = None
    """Other names of allowed models, as JSON; unset, OpenAI's names mean the first allowed model."""
    model_url: HttpUrl = HttpUrl("http://whisper-service:8080")
    """Where the worker is."""
    worker_token: Secret = SecretStr("")
    """Secret shared with the worker, sent with each call where it is set."""
    model_timeout: PositiveFloat = 300
    """Seconds without a sign of life from the worker after which a request is given up with 504."""
    max_upload_bytes: UploadLimit = ByteSize(1024**3)
    """Largest request body; beyond it 413."""
    strict_parameters: bool = False
    """Refuse what `/v1` would ignore, as `Prefer: handling=strict` does for one request."""
    keep_alive_seconds: PositiveFloat = 10
    """Silence on an event stream after which a comment is sent, so that no proxy cuts it."""
    cors_allow_origins: Names = []
    """Origins of web pages that may call the gateway; `*` is every origin."""
    root_path: str = ""
    """Path under which a reverse proxy serves the gateway, such as `/asr`."""
    forwarded_allow_ips: str = "127.0.0.1,::1"
    """Reverse proxies whose X-Forwarded-For is believed, in the log's addresses; networks too, `*` is every one."""
    log_level: LogLevel = "INFO"
    """How much is logged."""

    @property
    def aliases(self) -> dict[str, str]:
        """The allowed model that each alias stands for."""
        if self.model_aliases is not None:
            return self.model_aliases
        return dict.fromkeys(OPENAI_NAMES, self.allowed_models[0])

    @model_validator(mode="after")
    def _aliases_are_of_use(self) -> "Settings":
        for alias, model in self.aliases.items():
            if model not in self.allowed_models:
                raise ValueError(
                    f"MODEL_ALIASES: '{alias}' stands for '{model}', which is not in ALLOWED_MODELS"
                )
        for alias, model in (self.model_aliases or {}).items():
            if alias in self.allowed_models and alias != model:
                raise ValueError(
                    f"MODEL_ALIASES: '{alias}' is itself in ALLOWED_MODELS and cannot be '{model}'"
                )
        return self

    @field_validator("cors_allow_origins")
    @classmethod
    def _as_browsers_send_them(cls, value: list[str]) -> list[str]:
        origins = []
        for given in value:
            origin = given.removesuffix("/").lower()
            origin = origin.removesuffix(USUAL_PORTS.get(origin.partition(":")[0], ""))
            origins.append(origin)
            if not _ORIGIN.fullmatch(origin):
                raise ValueError(f"'{origin}' is no origin; write it as https://app.example")
        return origins

    @field_validator("forwarded_allow_ips")
    @classmethod
    def _addresses_and_networks(cls, value: str) -> str:
        """Anything else would be taken, and never match."""
        for proxy in value.split(","):
            if proxy.strip() not in ("", "*"):
                ip_network(proxy.strip())
        return value

    @field_validator("root_path")
    @classmethod
    def _not_our_own(cls, value: str) -> str:
        if not _ROOT_PATH.fullmatch(value):
            raise ValueError("is no path such as /asr, in which no part is empty, . or ..")
        first = value.split("/")[1] if value else ""
        if first in OWN_PATHS:
            # Of `/v1/models` nobody could tell whether the proxy has cut `/v1` off.
            raise ValueError(f"a path of the gateway's own begins with '/{first}'; take another")
        return value

    @field_validator("allowed_models")
    @classmethod
    def _as_served(cls, value: list[str]) -> list[str]:
        """The worker serves a model under its name alone, whatever revision it was told to fetch."""
        return [name.partition("@")[0] for name in value]

    @field_validator("api_gateway_port", mode="before")
    @classmethod
    def _not_a_link(cls, value: Any) -> Any:
        """Kubernetes sets a variable of this name to an address beside a Service `api-gateway`."""
        is_link = isinstance(value, str) and value.startswith("tcp://")
        return cls.model_fields["api_gateway_port"].default if is_link else value
