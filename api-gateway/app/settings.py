"""The gateway's settings, all from the environment or `.env`; each docstring is its documentation."""

from typing import Annotated, Any, Literal

from pydantic import ByteSize, Field, HttpUrl, PositiveFloat, SecretStr, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Names = Annotated[list[str], NoDecode]


class Settings(BaseSettings):
    """What the gateway can be told."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        use_attribute_docstrings=True,
    )

    api_gateway_host: str = "0.0.0.0"
    """Address that the gateway listens on."""
    api_gateway_port: int = Field(8081, ge=0, le=65535)
    """Port that the gateway listens on."""
    api_key: SecretStr = SecretStr("change-me")
    """Bearer key that clients must show; empty turns the check off."""
    allowed_models: Names = ["small", "medium", "large-v3", "large-v3-turbo"]
    """Models that clients may use; others are 404."""
    model_url: HttpUrl = HttpUrl("http://whisper-service:8080")
    """Where the worker is."""
    worker_token: SecretStr = SecretStr("")
    """Secret shared with the worker, sent with each call where it is set."""
    model_timeout: PositiveFloat = 300
    """Seconds without a sign of life from the worker after which a request is given up with 504."""
    max_upload_bytes: ByteSize = ByteSize(1024**3)
    """Largest request body; beyond it 413."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """How much is logged."""

    @field_validator("allowed_models", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return [name.strip() for name in value.split(",") if name.strip()]
        return value

    @field_validator("log_level", mode="before")
    @classmethod
    def _upper(cls, value: Any) -> Any:
        return value.upper() if isinstance(value, str) else value
