"""Languages as users spell them."""

import pytest
from gateway.languages import LANGUAGES, language_code


@pytest.mark.parametrize(
    ("spelling", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("English", "en"),
        ("eng", "en"),
        ("pt-BR", "pt"),
        ("zh_CN", "zh"),
        ("Haitian Creole", "ht"),
        ("castilian", "es"),
        ("jv", "jw"),
        ("iw", "he"),
        ("in-ID", "id"),
        ("ji", "yi"),
        ("yue", "yue"),
        ("myanmar", "my"),
        ("ger", "de"),
        ("chi", "zh"),
        ("nob", "no"),
    ],
)
def test_codes_names_and_tags_give_whispers_code(spelling: str, code: str) -> None:
    assert language_code(spelling) == code


@pytest.mark.parametrize("spelling", ["klingon", "xx", "-", "en glish"])
def test_anything_else_is_refused(spelling: str) -> None:
    with pytest.raises(ValueError, match="not a language that Whisper knows"):
        language_code(spelling)


@pytest.mark.parametrize("code", LANGUAGES)
def test_a_language_may_be_sent_back_as_it_was_told(code: str) -> None:
    assert language_code(LANGUAGES[code]) == language_code(code) == code


def test_the_languages_are_those_of_faster_whisper() -> None:
    from faster_whisper.tokenizer import _LANGUAGE_CODES

    assert sorted(LANGUAGES) == sorted(_LANGUAGE_CODES)
    assert all(language_code(name) == code for code, name in LANGUAGES.items())
