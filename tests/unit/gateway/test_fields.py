"""The form of the documented routes: the worker's options, each as one plain field."""

import pytest
from gateway.errors import InvalidRequest
from gateway.fields import Fields, OptionFields
from gateway.routes.detect_language import _Form as LanguageForm
from gateway.wire import Options


@pytest.mark.parametrize("name", ["languages", "suppress_tokens", "vad_parameters"])
@pytest.mark.parametrize("value", ["[", "[" * 100_000], ids=["open", "deep"])
def test_what_is_no_json_is_refused_by_name_however_deep_it_goes(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        OptionFields().add(name, value)
    assert caught.value.param == name
    assert caught.value.message == f"{name}: is not valid JSON"


def test_an_object_of_null_is_one_of_which_nothing_is_set() -> None:
    fields = OptionFields()
    fields.add("vad_parameters", "null")
    assert fields.options().vad_parameters == Options().vad_parameters


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("vad_parameters", '{"threshold": 2}', "vad_parameters.threshold: Input should be less than 1"),
        ("vad_parameters", "5", "vad_parameters: Input should be an object"),
        ("suppress_tokens", "[1, -5]", "suppress_tokens.1: Input should be greater than or equal to -1"),
        ("languages", "en,xx", "languages.1: 'xx' is not a language that Whisper knows"),
        ("language", "xx", "language: 'xx' is not a language that Whisper knows"),
        ("language", "x" * 200_000, f"language: '{'x' * 40}' is not a language that Whisper knows"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_told_with_its_place_and_in_plain_words(
    name: str, value: str, message: str
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        OptionFields().add(name, value)
    assert (caught.value.param, caught.value.message) == (name, message)


def test_the_language_alone_is_asked_for_without_options_of_a_text_and_told_so_at_once() -> None:
    form = LanguageForm()
    form.add("language_detection_segments", "3")
    with pytest.raises(InvalidRequest, match="means nothing where only the language"):
        form.add("temperature", "0.5")


@pytest.mark.parametrize(
    "second", [("vad_parameters", '{"threshold": 99}'), ("vad_parameters[threshold]", "0.2")]
)
def test_an_object_that_is_sent_twice_is_refused(second: tuple[str, str]) -> None:
    fields = Fields()
    for name, value in (("vad_parameters", '{"threshold": 0.1}'), second):
        fields.add(name, value)
    with pytest.raises(InvalidRequest, match="was sent twice"):
        fields.mapping("vad_parameters")
