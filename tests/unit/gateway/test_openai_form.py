"""OpenAI's form in every way in which clients write it."""

import json
import re
from collections.abc import Callable

import pytest
from gateway.errors import InvalidRequest, MissingField, NotImplementedYet
from gateway.fields import GATEWAYS_OWN, Fields, OptionFields
from gateway.formats.style import SubtitleStyle
from gateway.openai_form import KNOWN, LISTS, Asked, OpenAIForm
from gateway.wire import Options, read_options
from house import ROOT
from pydantic import ValidationError

WAV = "data:audio/wav;base64,UklGRg=="


def read(*fields: tuple[str, str], task: str = "transcribe") -> Asked:
    form = OpenAIForm(task)  # type: ignore[arg-type]
    for name, value in (("model", "m"), *fields):
        form.add(name, value)
    return form.read()


def refused(*fields: tuple[str, str], task: str = "transcribe") -> tuple[str | None, str]:
    with pytest.raises(InvalidRequest) as caught:
        read(*fields, task=task)
    return caught.value.param, caught.value.message


@pytest.mark.parametrize(
    "sent",
    [
        [("x[]", "word"), ("x[]", "segment")],
        [("x", "word"), ("x", "segment")],
        [("x[0]", "word"), ("x[1]", "segment")],
        [("x", "word,segment")],
        [("x", "word, segment,")],
        [("x", '["word", "segment"]')],
        [("x", ' ["word", "segment"]')],
        [("x[]", "word"), ("x[]", ""), ("x", "segment")],
    ],
)
def test_a_list_is_read_in_every_spelling(sent: list[tuple[str, str]]) -> None:
    fields = Fields()
    for name, value in sent:
        fields.add(name, value)
    assert fields.texts("x") == ["word", "segment"]


def test_a_bracketed_item_keeps_its_commas() -> None:
    fields = Fields()
    fields.add("keywords[]", "Smith, John")
    assert fields.texts("keywords") == ["Smith, John"]


@pytest.mark.parametrize("value", ["[1, 2]", "[", "[" * 100_000, '{"a": 1}]'])
@pytest.mark.parametrize("name", ["include", "timestamp_granularities", "languages"])
def test_a_list_that_is_none_is_refused_by_name(name: str, value: str) -> None:
    assert refused((name, value))[0] == name


@pytest.mark.parametrize(
    "sent",
    [
        [("timestamp_granularities[]", "word,segment")],
        [("timestamp_granularities[]", '["word", "segment"]')],
        [("timestamp_granularities", "word,"), ("timestamp_granularities", "segment")],
        [("timestamp_granularities", " word,segment\n")],
    ],
)
def test_words_that_hold_no_comma_may_be_a_list_in_an_item(sent: list[tuple[str, str]]) -> None:
    asked = read(("response_format", "verbose_json"), *sent)
    assert asked.granularities == ["word", "segment"]


@pytest.mark.parametrize(
    ("sent", "hotwords"),
    [
        (["[draft] notes"], "[draft] notes"),
        (["[draft]", "b"], "[draft], b"),
        (["Smith, John", "b"], "Smith, John, b"),
        (["a,b"], "a, b"),
        (['["a", "b"]'], "a, b"),
        (['["a", 7]'], "a, 7"),
        (["[true]"], "[true]"),
    ],
)
def test_keywords_are_free_text_as_the_ruby_sdk_repeats_their_name(
    sent: list[str], hotwords: str
) -> None:
    assert read(*(("keywords", value) for value in sent)).options.hotwords == hotwords


def test_every_option_that_is_a_list_may_be_sent_as_one() -> None:
    fields = Options.model_json_schema()["properties"]
    lists = {
        name
        for name, field in fields.items()
        if any(kind.get("type") == "array" for kind in [field, *field.get("anyOf", [])])
    }
    assert lists == LISTS


@pytest.mark.parametrize("value", ["auto", "AUTO", " auto\n", "null", " "])
def test_a_language_may_be_left_to_be_detected_in_words(value: str) -> None:
    options = read(("language", value)).options
    assert options.named_language is None
    assert options.language == (None if value.strip() in ("", "null") else "auto")


def test_a_layout_that_asks_for_nothing_is_not_in_vain() -> None:
    assert read(("highlight_words", "false")).ignored == []
    assert read(("highlight_words", "true")).ignored == ["highlight_words"]


@pytest.mark.parametrize(
    "kind",
    [
        "audio/webm; codecs=opus;base64",
        'audio/webm;codecs="opus";base64',
        "AUDIO/OGG;BASE64",
        "audio/wav;base64",
    ],
)
def test_a_data_url_may_have_parameters_as_browsers_write_them(kind: str) -> None:
    speaker = [("known_speaker_names[]", "A"), ("known_speaker_references[]", f"data:{kind},AA")]
    assert read(*speaker).ignored == ["known_speaker_names", "known_speaker_references"]


def test_an_empty_value_means_that_the_field_is_unset() -> None:
    asked = read(("language", ""), ("prompt", ""), ("response_format", ""), ("temperature", ""))
    assert asked.options.model_dump(exclude_unset=True) == {}
    assert asked.response_format == "json"


@pytest.mark.parametrize("value", ["true", "True", "1"])
def test_booleans_are_read_as_python_javascript_and_c_write_them(value: str) -> None:
    assert read(("stream", value)).stream is True


@pytest.mark.parametrize("value", ["false", "False", "0", "null", ""])
def test_what_is_not_true_is_false(value: str) -> None:
    assert read(("stream", value)).stream is False


@pytest.mark.parametrize(
    "sent",
    [
        [("chunking_strategy", "auto")],
        [("chunking_strategy", '"auto"')],
        [("chunking_strategy", "server_vad")],
        [("chunking_strategy", '"server_vad"')],
        [("chunking_strategy[type]", "server_vad"), ("chunking_strategy[threshold]", "0.4")],
        [("chunking_strategy", '{"type": "server_vad", "threshold": 0.4}')],
        [("chunking_strategy", '\n{"type": "server_vad"}')],
        [("chunking_strategy", '{"threshold": 0.4}')],  # async-openai (Rust)
        [("chunking_strategy[threshold]", "0.4")],
    ],
)
def test_a_chunking_strategy_turns_speech_detection_on(sent: list[tuple[str, str]]) -> None:
    assert read(*sent).options.vad_filter is True


@pytest.mark.parametrize(("sent", "threshold"), [("0", 1e-6), ("1", 1 - 1e-6), ("0.4", 0.4)])
def test_the_threshold_of_speech_may_be_all_that_openai_allows(sent: str, threshold: float) -> None:
    asked = read(("chunking_strategy[type]", "server_vad"), ("chunking_strategy[threshold]", sent))
    assert asked.options.vad_parameters.threshold == threshold


@pytest.mark.parametrize("name", ["chunking_strategy", "vad_parameters"])
@pytest.mark.parametrize("value", ["bogus", "5", "[]", '"bogus"'])
def test_what_is_no_object_is_refused_without_names_from_the_code(name: str, value: str) -> None:
    param, message = refused((name, value))
    assert param == name
    assert not re.search("ServerVad|VadParameters", message)


@pytest.mark.parametrize(
    "sent",
    [
        [
            ("chunking_strategy[type]", "server_vad"),
            ("chunking_strategy[threshold]", "0.4"),
            ("chunking_strategy[silence_duration_ms]", "300"),
            ("chunking_strategy[prefix_padding_ms]", "200"),
        ],
        [
            ("vad_parameters[threshold]", "0.4"),
            ("vad_parameters[min_silence_duration_ms]", "300"),
            ("vad_parameters[speech_pad_ms]", "200"),
        ],
        [
            (
                "vad_parameters",
                '{"threshold": 0.4, "min_silence_duration_ms": 300, "speech_pad_ms": 200}',
            ),
            ("chunking_strategy", "auto"),
        ],
    ],
)
def test_the_numbers_of_speech_detection_reach_the_worker(sent: list[tuple[str, str]]) -> None:
    asked = read(*sent)
    assert asked.options.vad_parameters.model_dump(exclude_unset=True) == {
        "threshold": 0.4,
        "min_silence_duration_ms": 300,
        "speech_pad_ms": 200,
    }
    assert asked.ignored == []


@pytest.mark.parametrize("value", ["", "null"])
def test_no_chunking_strategy_leaves_the_workers_default(value: str) -> None:
    assert read(("chunking_strategy", value)).options.vad_filter is None


@pytest.mark.parametrize(
    "sent",
    [
        [("chunking_strategy[type]", "bogus")],
        [("chunking_strategy", "bogus")],
        [("chunking_strategy", "{")],
        [("chunking_strategy", '{"type": "server_vad", "threshold": 2}')],
        [("chunking_strategy", '{"type": "server_vad", "colour": 2}')],
        [("chunking_strategy[a][b]", "0.4")],
    ],
)
def test_a_wrong_chunking_strategy_is_refused_by_name(sent: list[tuple[str, str]]) -> None:
    assert refused(*sent)[0].split(".")[0] == "chunking_strategy"


OPTIONS: dict[str, tuple[str, object]] = {
    "language": ("German", "de"),
    "task": ("translate", "translate"),
    "prompt": ("Dr. Who", "Dr. Who"),
    "prefix": ("Yes, ", "Yes,"),
    "hotwords": ("Clara, [Vienna]", "Clara, [Vienna]"),
    "temperature": ("0.4", 0.4),
    "beam_size": ("3", 3),
    "best_of": ("2", 2),
    "patience": ("1.5", 1.5),
    "length_penalty": ("0.5", 0.5),
    "repetition_penalty": ("1.2", 1.2),
    "no_repeat_ngram_size": ("4", 4),
    "compression_ratio_threshold": ("2", 2.0),
    "log_prob_threshold": ("-0.5", -0.5),
    "no_speech_threshold": ("0.7", 0.7),
    "condition_on_previous_text": ("false", False),
    "prompt_reset_on_temperature": ("0.3", 0.3),
    "suppress_blank": ("False", False),
    "suppress_tokens": ("[-1]", [-1]),
    "without_timestamps": ("1", True),
    "max_initial_timestamp": ("0.5", 0.5),
    "vad_filter": ("true", True),
    "vad_parameters": ('{"threshold": 0.4}', {"threshold": 0.4}),
    "word_timestamps": ("true", True),
    "hallucination_silence_threshold": ("2", 2.0),
    "logprobs": ("true", True),
    "languages": (' ["German", "en"]', ["de", "en"]),
    "on_other_language": ("reject", "reject"),
    "language_detection_threshold": ("0.8", 0.8),
    "language_detection_segments": ("3", 3),
    "multilingual": ("true", True),
    "doubtful": ("drop", "drop"),
    "adaptive_window": ("true", True),
    "deadline": ("60", 60.0),
}
"""Each option that clients may send: a value as a form has it, and what the worker is asked for."""
IN_VAIN_ALONE = {"word_timestamps", "hallucination_silence_threshold", "on_other_language"}
"""Those without an effect where no answer shows words, words are not looked for, no language is expected."""


@pytest.mark.parametrize("name", sorted(Options.model_fields.keys() - GATEWAYS_OWN))
def test_every_option_means_the_same_on_v1_and_on_transcribe(name: str) -> None:
    text, value = OPTIONS[name]
    documented = OptionFields()
    documented.add(name, text)
    asked = read((name, text))
    assert asked.options.model_dump(exclude_unset=True) == {name: value}
    assert documented.options() == asked.options
    assert asked.ignored == ([name] if name in IN_VAIN_ALONE else [])


@pytest.mark.parametrize("field", [("response_format", "verbose_json"), ("stream", "true")])
def test_words_asked_for_under_the_workers_name_are_words_in_the_answer(
    field: tuple[str, str],
) -> None:
    asked = read(field, ("word_timestamps", "true"))
    assert asked.granularities == ["segment", "word"]
    asked = read(field, ("word_timestamps", "true"), ("timestamp_granularities[]", "word"))
    assert asked.granularities == ["word"]
    assert asked.ignored == []


def test_words_and_tokens_that_no_answer_shows_are_named() -> None:
    assert read(("word_timestamps", "true"), ("response_format", "text")).ignored == [
        "word_timestamps"
    ]
    assert read(("logprobs", "true"), ("response_format", "verbose_json")).ignored == ["logprobs"]
    assert read(("word_timestamps", "true"), ("response_format", "srt")).ignored == []
    judged = read(("word_timestamps", "true"), ("hallucination_silence_threshold", "2"))
    assert judged.ignored == []


def test_the_initial_prompt_is_the_prompt() -> None:
    asked = read(("initial_prompt", "Dr. Who"))
    assert (asked.options.prompt, asked.ignored) == ("Dr. Who", [])


@pytest.mark.parametrize(
    ("sent", "ignored"),
    [
        ([("chunking_strategy", "auto"), ("vad_filter", "false")], ["chunking_strategy"]),
        (
            [("chunking_strategy[threshold]", "0.9"), ("vad_parameters[threshold]", "0.4")],
            ["chunking_strategy"],
        ),
        ([("chunking_strategy", "auto"), ("vad_parameters[threshold]", "0.4")], []),
        ([("language", "en"), ("languages[]", "de")], ["languages"]),
        ([("languages[]", "de")], []),
        ([("languages[]", "de"), ("on_other_language", "reject")], []),
        ([("on_other_language", "reject")], ["on_other_language"]),
        ([("vad_filter", "false"), ("vad_parameters[threshold]", "0.4")], ["vad_parameters"]),
        ([("language", "en"), ("languages[]", "de"), ("multilingual", "true")], []),
        (
            [("language", "en"), ("languages", "en,de"), ("on_other_language", "reject")],
            ["languages", "on_other_language"],
        ),
        (
            [("language", "en"), ("language_detection_segments", "5")],
            ["language_detection_segments"],
        ),
        ([("language", "auto"), ("language_detection_segments", "5")], []),
        (
            [("condition_on_previous_text", "false"), ("prompt_reset_on_temperature", "0.9")],
            ["prompt_reset_on_temperature"],
        ),
        (
            [("vad_filter", "true"), ("prompt_reset_on_temperature", "0.9")],
            ["prompt_reset_on_temperature"],
        ),
        ([("prompt_reset_on_temperature", "0.9")], []),
        (
            [("without_timestamps", "true"), ("max_initial_timestamp", "5")],
            ["max_initial_timestamp"],
        ),
        (
            [("temperature", "0.5"), ("beam_size", "2"), ("patience", "2")],
            ["beam_size", "patience"],
        ),
        ([("temperature", "0"), ("beam_size", "2"), ("patience", "2")], []),
    ],
)
def test_what_has_no_effect_beside_another_field_is_named(
    sent: list[tuple[str, str]], ignored: list[str]
) -> None:
    assert read(*sent).ignored == ignored


@pytest.mark.parametrize("sent", [("response_format", "verbose_json"), ("stream", "true")])
def test_words_that_are_asked_for_come_whatever_a_list_of_options_says(
    sent: tuple[str, str],
) -> None:
    asked = read(sent, ("timestamp_granularities[]", "word"), ("word_timestamps", "false"))
    assert asked.options.word_timestamps is True
    assert asked.ignored == ["word_timestamps"]


def test_of_two_names_for_one_thing_the_second_is_ignored_and_named() -> None:
    asked = read(("prompt", "Dr. Who"), ("initial_prompt", "Dr. No"),
                 ("hotwords", "Tardis"), ("keywords[]", "Dalek"))  # fmt: skip
    assert (asked.options.prompt, asked.options.hotwords) == ("Dr. Who", "Tardis")
    assert asked.ignored == ["initial_prompt", "keywords"]


@pytest.mark.parametrize(
    ("sent", "tokens"),
    [
        ([("suppress_tokens", "[]")], []),
        ([("suppress_tokens", "-1, 7")], [-1, 7]),
        ([("suppress_tokens", "[-1, 7]")], [-1, 7]),
        ([("suppress_tokens", '["-1", "7"]')], [-1, 7]),
        ([("suppress_tokens[]", "-1"), ("suppress_tokens[]", "7")], [-1, 7]),
        ([("suppress_tokens", "-1"), ("suppress_tokens", "7")], [-1, 7]),
        ([("suppress_tokens[]", "")], [-1]),
    ],
)
def test_tokens_are_suppressed_however_they_are_listed(
    sent: list[tuple[str, str]], tokens: list[int]
) -> None:
    assert read(*sent).options.suppress_tokens == tokens


@pytest.mark.parametrize(
    ("sent", "param"),
    [
        (("temperature", "1.5"), "temperature"),
        (("temperature", "nan"), "temperature"),
        (("beam_size", "many"), "beam_size"),
        (("response_format", "lrc"), "response_format"),
        (("include[]", "bogus"), "include"),
        (("timestamp_granularities[]", "sentence"), "timestamp_granularities"),
        (("stream", "maybe"), "stream"),
        (("language", "xx"), "language"),
        (("languages", '["de", 1]'), "languages"),
        (("suppress_tokens", "[-1"), "suppress_tokens"),
        (("suppress_tokens", "many"), "suppress_tokens"),
        (("suppress_tokens", "[" * 100_000), "suppress_tokens"),
        (("max_line_width", "0"), "max_line_width"),
        (("max_line_count", "2"), "max_line_count"),
        (("model", "other"), "model"),
        (("prompt[]", "a"), "prompt"),
        (("prompt", "a" * 100_001), "prompt"),
        (("initial_prompt", "a" * 100_001), "initial_prompt"),
        (("keywords", "a" * 100_001), "keywords"),
    ],
)
def test_a_wrong_value_is_refused_by_its_name(sent: tuple[str, str], param: str) -> None:
    assert refused(sent)[0] == param


@pytest.mark.parametrize("name", ["srt", "vtt", "verbose_json"])
def test_only_text_can_be_streamed(name: str) -> None:
    assert refused(("stream", "true"), ("response_format", name)) == (
        "response_format",
        f"response_format '{name}' cannot be streamed: use json or text",
    )


def test_words_are_asked_for_when_they_will_be_shown_or_laid_out() -> None:
    word = ("timestamp_granularities[]", "word")
    assert read(("response_format", "verbose_json"), word).options.word_timestamps
    assert read(("stream", "true"), word).options.word_timestamps
    assert read(("response_format", "vtt")).options.word_timestamps
    assert not read(("response_format", "verbose_json")).options.word_timestamps
    assert not read(word).options.word_timestamps
    assert not read(("response_format", "srt"), ("word_timestamps", "no")).options.word_timestamps


def test_a_layout_cannot_do_without_words() -> None:
    sent = [("response_format", "srt"), ("word_timestamps", "false"), ("max_line_width", "20")]
    assert refused(*sent)[0] == "word_timestamps"


def test_what_has_no_effect_is_named() -> None:
    asked = read(
        ("timestamp_granularities[]", "word"),
        ("max_line_width", "20"),
        ("progress", "true"),
        ("known_speaker_names[]", "Ann"),
        ("known_speaker_references[]", WAV),
        ("colour", "red"),
        ("x[y]", ""),
        ("include[]", "logprobs"),
        ("response_format", "text"),
    )
    assert set(asked.ignored) == {
        *("timestamp_granularities", "max_line_width", "progress", "colour", "x", "include"),
        *("known_speaker_names", "known_speaker_references"),
    }


def test_blank_hotwords_do_not_outdo_keywords() -> None:
    asked = read(
        ("hotwords", " "), ("keywords[]", "Clara"), ("prompt", " "), ("initial_prompt", "Hi")
    )
    assert (asked.options.hotwords, asked.options.prompt) == ("Clara", "Hi")
    assert asked.ignored == []


def test_keywords_are_the_workers_hotwords() -> None:
    asked = read(("keywords[]", "Clara"), ("keywords[]", "Vienna"))
    assert asked.options.hotwords == "Clara, Vienna"


def test_one_candidate_language_is_the_language_and_several_leave_it_open() -> None:
    assert read(("languages[]", "German")).options.language == "de"
    asked = read(("languages[]", "de"), ("languages[]", "en"))
    assert (asked.options.language, asked.options.languages) == (None, ["de", "en"])
    assert asked.ignored == []
    asked = read(("languages[]", "de"), ("multilingual", "true"))  # it holds for each window
    assert (asked.options.language, asked.options.languages) == (None, ["de"])
    assert refused(("languages[]", "xx"))[0] == "languages"


@pytest.mark.parametrize("policy", ["allow", "nearest", "reject"])
@pytest.mark.parametrize("spelling", ["languages", "languages[]"])
def test_one_candidate_language_stays_one_where_it_is_said_what_to_do_with_others(
    spelling: str, policy: str
) -> None:
    asked = read((spelling, "de"), ("on_other_language", policy))
    assert asked.options.model_dump(exclude_unset=True) == {
        "languages": ["de"],
        "on_other_language": policy,
    }


def test_candidates_beside_the_language_are_passed_on_however_many() -> None:
    asked = read(("language", "en"), ("languages[]", "de"))
    assert asked.options.model_dump(exclude_unset=True) == {"language": "en", "languages": ["de"]}


def test_what_has_an_effect_is_not_named() -> None:
    asked = read(("include[]", "logprobs"), ("stream", "true"), ("progress", "true"))
    assert asked.ignored == []
    assert asked.options.logprobs
    assert asked.progress


def test_speakers_are_refused_as_not_implemented_and_never_retried() -> None:
    with pytest.raises(NotImplementedYet) as caught:
        read(("response_format", "diarized_json"))
    assert (caught.value.status, caught.value.retryable) == (501, False)


def test_translations_know_no_speakers_at_all() -> None:
    assert refused(("response_format", "diarized_json"), task="translate")[0] == "response_format"


def test_a_translation_is_one_whatever_a_field_says() -> None:
    asked = read(("task", "transcribe"), task="translate")
    assert (asked.options.task, asked.ignored) == ("translate", ["task"])


@pytest.mark.parametrize(
    ("names", "references"),
    [(["A", "B"], [WAV]), ([], [WAV]), (list("ABCDE"), [WAV] * 5), (["A"], ["file.wav"])],
)
def test_known_speakers_come_in_pairs_of_name_and_data_url_and_are_four_at_most(
    names: list[str], references: list[str]
) -> None:
    fields = [("known_speaker_names[]", name) for name in names]
    fields += [("known_speaker_references[]", reference) for reference in references]
    assert refused(*fields)[0] in {"known_speaker_names", "known_speaker_references"}


@pytest.mark.parametrize(
    "sent",
    [
        [],
        [("model", "m"), ("response_format", "srt"), ("max_line_count", "2")],
        [("model", "m"), ("known_speaker_names[]", "A")],
    ],
)
def test_what_may_still_follow_the_file_is_told_apart(sent: list[tuple[str, str]]) -> None:
    form = OpenAIForm("transcribe")
    for name, value in sent:
        form.add(name, value)
    with pytest.raises(MissingField):
        form.read()


def test_every_field_that_is_read_is_known() -> None:
    form = OpenAIForm("transcribe")
    form.add("model", "m")
    form.read()
    assert form.fields._read == KNOWN
    assert form.knows("timestamp_granularities[]")
    assert not form.knows("audio")


def test_what_never_has_an_effect_is_told_from_what_may_still_get_one() -> None:
    form = OpenAIForm("transcribe", query=["language", "colour"])
    for name, value in (("model", "m"), ("timestamp_granularities[]", "word"), ("colour", "red")):
        form.add(name, value)
    asked = form.read()
    assert asked.unknown == ["colour", "language"]
    assert asked.ignored == ["colour", "language", "timestamp_granularities"]


def test_every_field_of_the_documentation_is_read() -> None:
    table = (ROOT / "docs" / "openai.md").read_text().split("| field | means here |")[1]
    firsts = "".join(re.findall(r"^\| ([^|]+) \|", table.split("\n\n")[0], re.MULTILINE))
    names = re.findall(r"`([a-z_]+)(?:\[\])?`", firsts)
    assert {"stream", "include", "languages", *SubtitleStyle.model_fields} <= set(names)
    # `file` is the upload itself, and `file` alone is no field.
    for nothing in ("", "null"):
        unset = [(name, nothing) for name in names if name not in ("file", "model")]
        assert read(*unset) == read()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("timestamp_granularities", "x," * 9_999),
        ("include", "x," * 9_999),
        ("languages", "x," * 100_000),
        ("suppress_tokens", "x," * 100_000),
    ],
)
def test_the_first_wrong_item_of_a_long_list_ends_the_reading(name: str, value: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        read((name, value))
    assert caught.value.param == name
    assert isinstance(caught.value.__cause__, ValidationError)
    assert caught.value.__cause__.error_count() == 1


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("include", ["x," * 10_000]),
        ("keywords", ["x," * 10_000]),
        ("include", ["x," * 5_000] * 2),
        ("include", [json.dumps(["x"] * 10_001)]),
        ("keywords", [json.dumps(["x"] * 10_001)]),
        ("include", [json.dumps(["x"] * 5_001)] * 2),
        ("keywords", ["x"] * 10_001),
    ],
)
def test_a_list_of_very_many_items_is_refused_before_they_are_made(
    name: str, values: list[str]
) -> None:
    refusal = (name, f"'{name}' has more than 10000 items")
    assert refused(*((name, value) for value in values)) == refusal


@pytest.mark.parametrize("name", ["chunking_strategy", "vad_parameters"])
def test_an_object_of_very_many_keys_is_refused_before_each_is_looked_at(name: str) -> None:
    given = json.dumps({f"key{n}": n for n in range(10_000)})
    assert refused((name, given)) == (name, f"'{name}' has too many keys")
    with pytest.raises(InvalidRequest, match="has too many keys"):
        read_options({"vad_parameters": given})


@pytest.mark.parametrize(
    "spelling",
    [
        lambda whole: [("known_speaker_references[]", whole)] * 2,
        lambda whole: [("known_speaker_references[0]", whole), ("known_speaker_references", whole)],
        lambda whole: [("known_speaker_references", json.dumps([whole, whole]))],
    ],
    ids=["items", "numbered", "JSON"],
)
def test_of_references_of_megabytes_only_the_beginning_is_held(
    spelling: Callable[[str], list[tuple[str, str]]],
) -> None:
    form = OpenAIForm("transcribe")
    for name, value in (("model", "m"), ("known_speaker_names", '["A", "B"]')):
        form.add(name, value)
    for name, value in spelling(WAV + "A" * 2**20):
        form.add(name, value)
    held = form.fields.texts("known_speaker_references")
    assert [len(reference) for reference in held] == [256, 256]
    assert form.read().ignored == ["known_speaker_names", "known_speaker_references"]


def test_references_without_number_are_neither_held_nor_searched_for_long() -> None:
    form = OpenAIForm("transcribe")
    many = json.dumps(["data:a/b" + ";a" * 1000] * 1000)
    for name, value in (("model", "m"), *[("known_speaker_references", many)] * 100):
        form.add(name, value)
    held = form.fields.texts("known_speaker_references")
    assert sum(map(len, held)) < 200_000
    with pytest.raises(InvalidRequest, match="must be data URLs"):
        form.read()


def test_only_references_of_speakers_may_be_of_megabytes() -> None:
    form = OpenAIForm(task="transcribe")
    assert form.max_bytes("known_speaker_references[]") > 2**23
    assert form.max_bytes("prompt") == OptionFields().max_bytes("prompt") < 2**20
