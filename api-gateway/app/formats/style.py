"""How subtitles are laid out, as a request's fields say it."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from ..errors import InvalidRequest, MissingField
from ..wire import Options, refused, stripped

MOST_HIGHLIGHTED = 1000
"""Characters of a cue that runs on over segments: more fill no screen, and hours of them the memory."""


class SubtitleStyle(BaseModel):
    """The options of Whisper's own writers; without any of them, a cue is a sentence on one line."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    max_line_width: int | None = Field(None, ge=1, le=1000)
    """Characters a line of a subtitle may hold; a longer word stands alone."""
    max_words_per_line: int | None = Field(None, ge=1, le=1000)
    """Words a line may hold; without `max_line_count` and `max_line_width`, a cue is one line."""
    max_line_count: int | None = Field(None, ge=1, le=100)
    """Lines a cue may hold; with `max_line_width`, cues also run on over segments."""
    highlight_words: bool = False
    """Underline each word of a subtitle while it is spoken."""

    @property
    def chosen(self) -> set[str]:
        """The fields that ask for something; a field may also say that it does not."""
        return set(self.model_dump(exclude_defaults=True))

    @field_validator("highlight_words")
    @classmethod
    def _cue_can_be_repeated(cls, highlight: bool, info: ValidationInfo) -> bool:
        """Each word of a cue repeats all of it."""
        characters = (info.data.get("max_line_width") or 0) * (info.data.get("max_line_count") or 0)
        if highlight and characters > MOST_HIGHLIGHTED:
            raise ValueError(
                f"needs cues of at most {MOST_HIGHLIGHTED} characters (max_line_width times max_line_count)"
            )
        return highlight


def read_style(fields: Mapping[str, Any]) -> SubtitleStyle:
    """Check the fields of a form; None and empty ones are unset.

    Raises InvalidRequest that names the field, and MissingField for a width, which may still follow.
    """
    given = {k: v for k, v in stripped(fields).items() if v not in ("", None)}
    try:
        style = SubtitleStyle.model_validate(given)
    except ValidationError as exc:
        raise refused(exc.errors()[0]) from exc
    if style.max_line_count and not (style.max_line_width or style.max_words_per_line):
        message = "max_line_count needs max_line_width or max_words_per_line"
        raise MissingField(message, param="max_line_count")
    return style


def with_words(options: Options, style: SubtitleStyle) -> Options:
    """Ask for the times of words, which cues are made of.

    A request may decline them (a cue is a segment then), unless it also wants a layout.
    """
    if "word_timestamps" not in options.model_fields_set:
        return options.model_copy(update={"word_timestamps": True})
    if style.chosen and not options.word_timestamps:
        message = "The layout of subtitles needs the times of words"
        raise InvalidRequest(message, param="word_timestamps")
    return options
