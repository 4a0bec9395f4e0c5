"""What a request's options become: how long its windows are encoded, and what its search is told."""

import pytest
from house import MICRO
from worker.decoding.plan import Plan, make_plan, vad_options
from worker.decoding.vocabulary import Vocabulary
from worker.errors import InvalidRequest
from worker.settings import Settings, load_settings
from worker.wire import Options, VadParameters


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    """The tokens of the shipped model."""
    return Vocabulary(MICRO, multilingual=True)


def plan(vocabulary: Vocabulary, *, served: bool = False, asked: bool | None = None) -> Plan:
    """The plan of a worker and a request that say so of the adaptive window."""
    settings = Settings(whisper_models=["micro"], whisper_adaptive_window=served)
    return make_plan(Options(adaptive_window=asked), settings, vocabulary, "cpu")


# --- the adaptive window ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("audio", "encoded"),
    [
        (1, 1000),  # never less than 10 s
        (200, 1000),
        (800, 1000),  # 2 s of silence stay behind it
        (801, 1500),
        (1300, 1500),
        (1301, 2000),
        (1800, 2000),
        (1801, 3000),
        (2800, 3000),
        (3000, 3000),
    ],
)
def test_a_short_window_is_encoded_at_the_next_length_that_leaves_two_seconds(
    vocabulary: Vocabulary, audio: int, encoded: int
) -> None:
    asked = plan(vocabulary, asked=True)
    assert asked.window_frames(audio) == encoded
    assert asked.window_share((audio - 0.5) / 100) == encoded / 3000, "of a begun frame too"


@pytest.mark.parametrize("audio", [1, 200, 1000, 3000])
def test_every_window_is_encoded_as_30_seconds_unless_it_is_wanted_otherwise(
    vocabulary: Vocabulary, audio: int
) -> None:
    assert plan(vocabulary).window_frames(audio) == 3000


@pytest.mark.parametrize(
    ("served", "asked", "encoded"),
    [
        (True, None, 1000),
        (True, False, 3000),
        (True, True, 1000),
        (False, None, 3000),
        (False, True, 1000),
        (False, False, 3000),
    ],
)
def test_the_request_decides_on_the_adaptive_window_and_else_the_worker(
    vocabulary: Vocabulary, served: bool, asked: bool | None, encoded: int
) -> None:
    assert plan(vocabulary, served=served, asked=asked).window_frames(200) == encoded


@pytest.mark.parametrize(("value", "expected"), [(None, False), ("true", True), ("false", False)])
def test_the_environment_turns_the_adaptive_window_on(
    monkeypatch: pytest.MonkeyPatch, value: str | None, expected: bool
) -> None:
    if value is not None:
        monkeypatch.setenv("WHISPER_ADAPTIVE_WINDOW", value)
    assert load_settings().whisper_adaptive_window is expected


# --- what the search and the VAD are told -------------------------------------------------------


def test_what_shapes_the_search_is_in_the_recipe(vocabulary: Vocabulary) -> None:
    options = Options(
        beam_size=3,
        best_of=7,
        patience=2.0,
        length_penalty=0.5,
        repetition_penalty=1.5,
        no_repeat_ngram_size=4,
        suppress_blank=False,
        suppress_tokens=[11],
        max_initial_timestamp=0.5,
        without_timestamps=True,
    )
    recipe = make_plan(options, Settings(whisper_models=["micro"]), vocabulary, "cpu").recipe
    assert (recipe.beam_size, recipe.best_of, recipe.patience) == (3, 7, 2.0)
    assert (recipe.length_penalty, recipe.repetition_penalty) == (0.5, 1.5)
    assert (recipe.no_repeat_ngram_size, recipe.suppress_blank) == (4, False)
    assert 11 in recipe.suppress_tokens
    assert (recipe.max_initial_timestamp, recipe.timestamps) == (0.5, False)


@pytest.mark.parametrize(
    ("device", "asked", "timestamps", "aligned"),
    [
        ("cpu", {}, True, True),
        ("cuda", {}, False, True),
        ("cpu", {"without_timestamps": True}, False, True),
        ("cuda", {"without_timestamps": False}, True, True),
        ("cuda", {"condition_on_previous_text": True}, True, False),
        ("cuda", {"vad_filter": False}, True, False),
        ("cuda", {"vad_filter": False, "condition_on_previous_text": False}, True, False),
    ],
)
def test_only_windows_of_the_vad_on_cuda_are_text_alone_unless_asked(
    vocabulary: Vocabulary, device: str, asked: dict[str, bool], timestamps: bool, aligned: bool
) -> None:
    settings = Settings(whisper_models=["micro"])
    plan = make_plan(Options(**asked), settings, vocabulary, device)
    assert (plan.timestamps, plan.recipe.timestamps) == (timestamps, timestamps)
    assert plan.aligned is aligned


def test_of_a_book_of_a_hint_only_what_can_count_is_read(
    vocabulary: Vocabulary, monkeypatch: pytest.MonkeyPatch
) -> None:
    encode, read = vocabulary.encode, list[int]()

    def watched(text: str) -> list[int]:
        read.append(len(text))
        return encode(text)

    monkeypatch.setattr(vocabulary, "encode", watched)
    book = "word " * 19_000
    options = Options(prompt=f"{book}the end", hotwords=f"the beginning {book}")
    made = make_plan(options, Settings(whisper_models=["micro"]), vocabulary, "cpu")
    assert sum(read) < 25_000
    assert list(made.prompt[-2:]) == encode(" the end")
    assert list(made.hotwords[:2]) == encode(" the beginning")
    blanks = Options(prompt=f"the end{' ' * 20_000}")
    made = make_plan(blanks, Settings(whisper_models=["micro"]), vocabulary, "cpu")
    assert list(made.prompt) == encode(" the end")


def test_the_worker_decides_on_beams_where_the_request_does_not(vocabulary: Vocabulary) -> None:
    settings = Settings(whisper_models=["micro"], whisper_beam_size=2)
    assert make_plan(Options(), settings, vocabulary, "cpu").recipe.beam_size == 2
    assert make_plan(Options(beam_size=4), settings, vocabulary, "cpu").recipe.beam_size == 4


def test_every_parameter_of_the_vad_reaches_it_under_its_own_name() -> None:
    told = vad_options(
        VadParameters(
            threshold=0.7,
            neg_threshold=0.2,
            min_speech_duration_ms=250,
            max_speech_duration_s=12.0,
            min_silence_duration_ms=500,
            speech_pad_ms=30,
        )
    )
    assert (told.threshold, told.neg_threshold) == (0.7, 0.2)
    assert (told.min_speech_duration_ms, told.max_speech_duration_s) == (250, 12.0)
    assert (told.min_silence_duration_ms, told.speech_pad_ms) == (500, 30)
    assert vad_options(VadParameters()).max_speech_duration_s == float("inf")


def test_the_first_token_that_a_model_has_not_cannot_be_suppressed(vocabulary: Vocabulary) -> None:
    settings = Settings(whisper_models=["micro"])
    last = vocabulary.size - 1
    asked = make_plan(Options(suppress_tokens=[last]), settings, vocabulary, "cpu")
    assert last in asked.recipe.suppress_tokens
    with pytest.raises(InvalidRequest, match=f"no token {last + 1}"):
        make_plan(Options(suppress_tokens=[last + 1]), settings, vocabulary, "cpu")


def test_half_a_beam_is_patience_enough(vocabulary: Vocabulary) -> None:
    """CTranslate2 rounds it up."""
    settings = Settings(whisper_models=["micro"])
    assert make_plan(Options(patience=0.5, beam_size=1), settings, vocabulary, "cpu")


# --- hints --------------------------------------------------------------------------------------


def test_hints_become_the_tokens_that_a_window_has_room_for_once(vocabulary: Vocabulary) -> None:
    settings = Settings(whisper_models=["micro"])
    long = " ".join(["Vienna"] * 300 + ["Poland"] * 300)
    asked = Options(prompt=long, hotwords=f"  {long} ", prefix=long)
    hints = make_plan(asked, settings, vocabulary, "cpu")
    tokens = vocabulary.encode(f" {long}")
    assert list(hints.prompt) == tokens[-223:]
    assert list(hints.hotwords) == tokens[:223]
    assert list(hints.prefix) == tokens[:112]


@pytest.mark.parametrize("blank", [None, "", "  \n"])
def test_blank_hints_are_none(vocabulary: Vocabulary, blank: str | None) -> None:
    asked = Options(prompt=blank, hotwords=blank, prefix=blank)
    hints = make_plan(asked, Settings(whisper_models=["micro"]), vocabulary, "cpu")
    assert (hints.prompt, hints.hotwords, hints.prefix) == ((), (), ())


# --- the language -------------------------------------------------------------------------------


def test_the_usual_language_is_none_for_a_model_that_does_not_know_it(
    vocabulary: Vocabulary,
) -> None:
    """One worker serves models of 99 languages and of 100; without this the first refuse every request."""
    settings = Settings(whisper_models=["micro"], whisper_language="yue")
    assert not vocabulary.knows("yue")
    assert make_plan(Options(), settings, vocabulary, "cpu").language is None
    assert make_plan(Options(language="en"), settings, vocabulary, "cpu").language == "en"
    with pytest.raises(InvalidRequest, match="does not know the language 'yue'"):
        make_plan(Options(language="yue"), settings, vocabulary, "cpu")


def test_a_request_may_ask_for_detection_where_a_language_is_usual(vocabulary: Vocabulary) -> None:
    settings = Settings(whisper_models=["micro"], whisper_language="de")
    assert make_plan(Options(), settings, vocabulary, "cpu").language == "de"
    assert make_plan(Options(language=" Auto"), settings, vocabulary, "cpu").language is None
    none = Settings(whisper_models=["micro"], whisper_language="auto")
    assert make_plan(Options(), none, vocabulary, "cpu").language is None


def test_a_request_that_gives_its_language_expects_what_it_likes(vocabulary: Vocabulary) -> None:
    """It is refused only where a window would have to be in one of languages that the model does not know."""
    settings = Settings(whisper_models=["micro"])
    asked = Options(language="en", languages=["yue"])
    assert make_plan(asked, settings, vocabulary, "cpu").language == "en"
    for heard in ({"language": None}, {"multilingual": True}):
        with pytest.raises(InvalidRequest, match="knows none of the languages"):
            make_plan(asked.model_copy(update=heard), settings, vocabulary, "cpu")
