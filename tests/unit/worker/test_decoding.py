"""The pure parts of decoding: ladder, timestamps, words, sentences, languages, doubts."""

import math
import unicodedata
import zlib
from contextlib import nullcontext

import pytest
from house import MICRO
from hypothesis import given
from hypothesis import strategies as st
from worker.decoding.attempt import Alignment, Outcome, Thresholds
from worker.decoding.doubt import doubts, is_left_out, is_repetitive
from worker.decoding.ladder import (
    average_logprob,
    best_of_the_failed,
    compression_ratio,
    needs_fallback,
    temperatures,
)
from worker.decoding.language import (
    HeardLanguage,
    choose_language,
    is_settled,
    likely_language,
)
from worker.decoding.plan import Plan, make_plan
from worker.decoding.sentences import split_sentences
from worker.decoding.timestamps import Draft, TimedWord, split_by_timestamps
from worker.decoding.vocabulary import Vocabulary
from worker.decoding.words import add_words, aligned_words, tidy
from worker.errors import InvalidRequest
from worker.settings import Settings
from worker.wire import Options

BEGIN = 50_364
"""The token of 0.00 s."""
EOT = 50_257
THRESHOLDS = Thresholds()


# --- the ladder ---------------------------------------------------------------------------------


def test_zero_and_unset_are_the_whole_ladder_and_a_number_above_is_itself() -> None:
    assert temperatures(None) == temperatures(0.0) == (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
    assert temperatures(0.3) == (0.3,)


@pytest.mark.parametrize(
    ("ratio", "avg_logprob", "no_speech_prob", "expected"),
    [
        (1.0, -0.5, 0.0, False),
        (2.5, -0.5, 0.0, True),
        (1.0, -1.1, 0.0, True),
        (1.0, -1.1, 0.7, False),
        (2.5, -1.1, 0.7, False),
        (2.5, -0.5, 0.7, True),
    ],
)
def test_repetition_and_low_probability_fall_back_but_silence_does_not(
    ratio: float, avg_logprob: float, no_speech_prob: float, expected: bool
) -> None:
    found = needs_fallback(
        ratio=ratio, avg_logprob=avg_logprob, no_speech_prob=no_speech_prob, thresholds=THRESHOLDS
    )
    assert found is expected


def test_the_likeliest_that_does_not_repeat_itself_is_the_best_of_the_failed() -> None:
    loop = Outcome(tokens=(1,), avg_logprob=-0.2, compression_ratio=9.0)
    poor = Outcome(tokens=(2,), avg_logprob=-2.0, compression_ratio=1.0)
    better = Outcome(tokens=(3,), avg_logprob=-1.5, compression_ratio=1.0)
    assert best_of_the_failed([loop, poor, better], THRESHOLDS) is better
    assert best_of_the_failed([loop], THRESHOLDS) is loop


def test_scores_become_mean_log_probabilities_as_in_the_reference() -> None:
    assert average_logprob(-0.5, 9, 1.0) == pytest.approx(-0.45)
    assert average_logprob(-0.5, 9, 0.0) == pytest.approx(-0.05)


def test_repetition_compresses_well() -> None:
    assert compression_ratio("no " * 100) > 2.4
    assert compression_ratio("The price is fifty dollars.") < 1.0


TAMIL = (
    "மனிதப் பிறிவியினர் சகலரும் சுதந்திரமாகவே பிறக்கின்றனர்; அவர்கள் மதிப்பிலும், உரிமைகளிலும் சமமானவர்கள், "
    "அவர்கள் நியாயத்தையும் மனச்சாட்சியையும் இயற்பண்பாகப் பெற்றவர்கள். அவர்கள் ஒருவருடனொருவர் சகோதர "
    "உணர்வுப் பாங்கில் நடந்துகொள்ளல் வேண்டும்."
)


def test_letters_of_three_bytes_alike_are_no_repetition() -> None:
    assert len(TAMIL.encode()) / len(zlib.compress(TAMIL.encode())) > 2.4
    assert compression_ratio(TAMIL) < 1.5
    assert compression_ratio(TAMIL[:40] * 6) > 2.4


# --- timestamps ---------------------------------------------------------------------------------


def stamp(seconds: float) -> int:
    return BEGIN + round(seconds / 0.02)


def test_segments_stand_between_pairs_of_timestamps() -> None:
    tokens = [stamp(0.2), 1, 2, stamp(3.0), stamp(3.6), 3, stamp(5.0)]
    split = split_by_timestamps(tokens, timestamp_begin=BEGIN, seek=1000, frames=3000)
    assert [(round(d.start, 2), round(d.end, 2)) for d in split.drafts] == [
        (10.2, 13.0),
        (13.6, 15.0),
    ]
    assert (split.next_seek, split.ends_in_silence) == (4000, True)


def test_an_unfinished_segment_is_heard_again_from_its_start() -> None:
    tokens = [stamp(0.0), 1, stamp(3.0), stamp(3.0), 2, 3]
    split = split_by_timestamps(tokens, timestamp_begin=BEGIN, seek=0, frames=3000)
    assert [d.tokens for d in split.drafts] == [[stamp(0.0), 1, stamp(3.0)]]
    assert (split.next_seek, split.ends_in_silence) == (300, False)


def test_text_without_timestamps_is_one_segment_of_the_whole_window() -> None:
    split = split_by_timestamps([1, 2], timestamp_begin=BEGIN, seek=500, frames=1234)
    assert [(d.start, d.end) for d in split.drafts] == [(5.0, 17.34)]
    assert split.next_seek == 1734


def test_a_stamp_that_opens_a_text_is_not_its_end() -> None:
    """The model stops where the sound does, amid a word."""
    split = split_by_timestamps([stamp(1.0), 1, 2], timestamp_begin=BEGIN, seek=500, frames=800)
    assert [(d.start, d.end) for d in split.drafts] == [(5.0, 13.0)]
    assert not split.ends_in_silence
    closed = split_by_timestamps(
        [stamp(1.0), 1, stamp(3.0)], timestamp_begin=BEGIN, seek=500, frames=800
    )
    assert [(d.start, d.end) for d in closed.drafts] == [(5.0, 8.0)]


@given(
    st.lists(st.integers(0, 1500).map(lambda n: BEGIN + n) | st.integers(0, 50), max_size=60),
    st.integers(1, 3000),
)
def test_the_seek_loop_always_goes_on_and_every_token_is_kept_or_heard_again(
    tokens: list[int], frames: int
) -> None:
    # Whisper's timestamps never decrease; CTranslate2 sees to it.
    stamps = iter(sorted(token for token in tokens if token >= BEGIN))
    tokens = [next(stamps) if token >= BEGIN else token for token in tokens]
    split = split_by_timestamps(tokens, timestamp_begin=BEGIN, seek=100, frames=frames)
    kept = [token for draft in split.drafts for token in draft.tokens]
    assert kept == tokens[: len(kept)]
    assert 100 < split.next_seek <= 100 + frames
    if all(2 * (token - BEGIN) < frames for token in tokens):
        assert len(kept) == len(tokens) or split.next_seek < 100 + frames
    end = 1.0 + frames / 100
    assert all(1.0 <= draft.start <= draft.end <= end for draft in split.drafts)


# --- words --------------------------------------------------------------------------------------

PLACED = st.lists(
    st.tuples(
        st.sampled_from([" Hello", ",", " world", ".", " it", "'", "s", " (", "1", ")"]),
        st.floats(0, 30),
        st.floats(0, 3),
    ),
    min_size=1,
    max_size=30,
)


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("km", " ខ្ញុំទៅផ្សារជាមួយម្តាយរបស់ខ្ញុំនៅថ្ងៃនេះ"),
        ("my", "ကျွန်တော်ဒီနေ့ဈေးကိုသွားမယ်"),
        ("bo", "ང་ཚོ་ཁྲོམ་ལ་འགྲོ་གི་ཡིན།"),
    ],
)
def test_words_of_scripts_without_spaces_are_short_and_begin_with_a_letter(
    language: str, text: str
) -> None:
    vocabulary = Vocabulary(MICRO, multilingual=True)
    tokens = vocabulary.encode(text)
    pairs = tuple((n, 5 * n) for n in range(len(tokens) + 1))
    alignment = Alignment(tuple(tokens), pairs, (0.9,) * len(tokens))
    tokenizer = vocabulary.tokenizer(language, "transcribe")
    [words] = aligned_words(alignment, tokenizer, [len(tokens)])
    assert "".join(word.word for word in words) == text
    assert not any(unicodedata.category(word.word[0]).startswith("M") for word in words)
    assert len(words) >= 8
    assert max(word.end - word.start for word in words) < 2.0


@given(PLACED, st.floats(0, 30), st.floats(0, 30))
def test_words_are_monotonic_and_inside_the_audio_and_none_is_lost(
    placed: list[tuple[str, float, float]], last_speech: float, end: float
) -> None:
    starts = sorted(start for _, start, _ in placed)
    words = [
        TimedWord(text, start, start + length, 0.5, tokens=[n], logprobs=[-0.5])
        for n, ((text, _, length), start) in enumerate(zip(placed, starts, strict=True))
    ]
    half = len(words) // 2
    drafts = [
        Draft(0, 0.0, 10.0, list(range(half))),
        Draft(0, 10.0, 20.0, list(range(half, len(words)))),
    ]
    add_words(drafts, [words[:half], words[half:]], seek=0, frames=3000, last_speech=last_speech)
    found = [word for draft in drafts for word in draft.words or []]
    tidy(found, start=0.0, end=end)
    assert "".join(word.word for word in found) == "".join(text for text, _, _ in placed)
    earliest = 0.0
    for word in found:
        assert earliest <= word.start <= word.end <= end
        earliest = word.end


def test_punctuation_belongs_to_its_word() -> None:
    texts = [" He", " said", " “", "No", ",", " never", ".", "”"]
    words = [TimedWord(text, n, n + 1, 0.9, [n], [0.0]) for n, text in enumerate(texts)]
    draft = Draft(0, 0.0, 8.0, list(range(8)))
    add_words([draft], [words], seek=0, frames=800, last_speech=0.0)
    assert [word.word for word in draft.words or []] == [" He", " said", " “No,", " never.”"]


def test_a_last_word_ends_with_its_window_and_not_behind_it() -> None:
    words = [TimedWord(" Good", 9.0, 9.3, 0.9, [1]), TimedWord(" night", 9.9, 10.0, 0.9, [2])]
    short = [TimedWord(" Good", 9.0, 9.3, 0.9, [1]), TimedWord(" night", 9.9, 10.6, 0.9, [2])]
    for placed in (words, short):
        draft = Draft(0, 9.0, 9.95, [1, 2])
        add_words([draft], [placed], seek=0, frames=1000, last_speech=0.0)
        assert [word.end for word in draft.words or []] == [9.3, 10.0]
        assert draft.end <= 10.0


# --- sentences ----------------------------------------------------------------------------------


def sentences(*texts: str, gap: float = 0.0) -> list[str]:
    words = [
        TimedWord(text, n * (1 + gap), n * (1 + gap) + 1, 0.9, [n]) for n, text in enumerate(texts)
    ]
    tokens = [stamp(0), *range(len(texts)), stamp(9)]
    parts = split_sentences([Draft(0, 0.0, words[-1].end, tokens, words)], BEGIN)
    assert [token for part in parts for token in part.tokens] == tokens
    return ["".join(word.word for word in part.words or []) for part in parts]


def test_each_sentence_is_a_segment() -> None:
    assert sentences(" Good", " morning.", " How", " are", " you?", " Fine!") == [
        " Good morning.",
        " How are you?",
        " Fine!",
    ]


@pytest.mark.parametrize(
    "texts",
    [
        (" Mr.", " Smith", " comes."),
        (" It", " costs", " 3.", " 50", " dollars."),
        (" e.g.", " this"),
        (" J.", " Bach"),
        (" Am", " 24.", " Dezember"),
        (" Ludwig", " XIV.", " König"),
        (" the", " U.S.", " Army"),
        (" etc.", " and"),
    ],
)
def test_abbreviations_and_numbers_end_no_sentence(texts: tuple[str, ...]) -> None:
    assert sentences(*texts) == ["".join(texts)]


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        ((" «", " Je", " viens.", " »", " Elle", " part."), [" « Je viens. »", " Elle part."]),
        ((" « Je", " viens ?", " »", " Elle", " part."), [" « Je viens ? »", " Elle part."]),
        (("行きます", "。", "）", "はい。"), ["行きます。）", "はい。"]),  # noqa: RUF001
        ((" Well", "...", "…", " Fine."), [" Well...…", " Fine."]),
    ],
)
def test_a_mark_that_closes_a_sentence_stays_with_it(
    texts: tuple[str, ...], found: list[str]
) -> None:
    assert sentences(*texts) == found


def test_a_mark_behind_a_long_silence_does_not_make_a_sentence_last() -> None:
    assert sentences(" viens.", " »", gap=1.5) == [" viens.", " »"]


def test_wide_punctuation_ends_a_sentence_without_a_capital_letter() -> None:
    assert sentences("你好。", "再见。") == ["你好。", "再见。"]


@pytest.mark.parametrize(
    "texts",
    [
        (" नमस्ते।", " आप", " कैसे", " हैं?"),  # Hindi
        (" أين", " المحطة؟", " هناك."),  # Arabic
        (" شکریہ۔", " خدا", " حافظ۔"),  # Urdu  # noqa: RUF001
        (" Բարև։", " Ինչպե՞ս", " եք։"),  # Armenian  # noqa: RUF001
        ("ありがとう。", "さようなら。"),
    ],
    ids=["Hindi", "Arabic", "Urdu", "Armenian", "Japanese"],
)
def test_sentences_end_as_each_script_ends_them(texts: tuple[str, ...]) -> None:
    assert len(sentences(*texts)) == 2
    assert "".join(sentences(*texts)) == "".join(texts)


def test_a_long_silence_ends_a_segment_without_punctuation() -> None:
    assert sentences(" one", " two", gap=1.5) == [" one", " two"]


def test_what_goes_on_without_punctuation_is_cut_at_its_longest_pauses() -> None:
    def spoken(pauses: dict[int, float]) -> list[list[int]]:
        words, at = list[TimedWord](), 0.0
        for n in range(28):
            at += pauses.get(n, 0.1)
            words.append(TimedWord("คำ", at, at + 0.9, 0.9, [n]))
            at += 0.9
        parts = split_sentences([Draft(0, 0.0, at, list(range(28)), words)], BEGIN)
        assert all(part.end - part.start <= 15 for part in parts)
        return [part.tokens for part in parts]

    assert spoken({13: 0.6}) == [list(range(13)), list(range(13, 28))]
    assert [len(tokens) for tokens in spoken({})] == [14, 14]  # at the middle
    assert [len(tokens) for tokens in spoken({1: 0.9})] == [14, 14]  # none of one word alone


def test_segments_without_words_stay_as_they_are() -> None:
    draft = Draft(0, 0.0, 4.0, [1, 2])
    assert split_sentences([draft], BEGIN) == [draft]


# --- languages ----------------------------------------------------------------------------------


def test_one_clear_window_settles_the_language() -> None:
    options = Options(language_detection_segments=4)
    assert is_settled([{"en": 0.4, "de": 0.3}], options) is False
    assert is_settled([{"en": 0.4}, {"de": 0.9}], options) is True
    assert is_settled([{"en": 0.4}] * 3, options) is False
    assert is_settled([{"en": 0.4}] * 4, options) is True, "there are enough"
    heard = [{"en": 0.4, "de": 0.3}, {"de": 0.9, "en": 0.1}]
    assert choose_language(heard, options) == HeardLanguage("de", 0.9)


def test_without_a_clear_window_the_majority_decides() -> None:
    heard = [{"en": 0.4, "de": 0.3}, {"de": 0.45, "en": 0.3}, {"en": 0.35, "de": 0.34}]
    assert choose_language(heard, Options()) == HeardLanguage("en", 0.4)


def test_another_language_is_taken_replaced_or_refused() -> None:
    heard = [{"la": 0.85, "en": 0.1, "de": 0.04}]

    def options(policy: str) -> Options:
        return Options.model_validate({"languages": ["de", "en"], "on_other_language": policy})

    assert choose_language(heard, options("nearest")) == HeardLanguage("en", 0.1)
    thrice = [{"la": 0.4, "en": 0.2, "de": 0.3}, {"la": 0.4, "en": 0.3}, {"en": 0.3, "la": 0.4}]
    assert choose_language(thrice, options("nearest")) == HeardLanguage("en", 0.3)
    assert choose_language(heard, options("allow")) == HeardLanguage("la", 0.85, is_expected=False)
    with pytest.raises(InvalidRequest, match="'la'") as caught:
        choose_language(heard, options("reject"))
    assert caught.value.param == "languages"


@pytest.mark.parametrize("policy", ["allow", "nearest", "reject"])
def test_an_empty_list_of_languages_expects_none(policy: str) -> None:
    options = Options.model_validate({"languages": [], "on_other_language": policy})
    assert choose_language([{"la": 0.85, "en": 0.1}], options) == HeardLanguage("la", 0.85)


@pytest.mark.parametrize(
    ("policy", "expected"), [("nearest", "en"), ("allow", "la"), ("reject", "la")]
)
def test_one_window_is_decoded_in_the_language_that_the_request_would_take(
    policy: str, expected: str
) -> None:
    options = Options.model_validate({"languages": ["de", "en"], "on_other_language": policy})
    assert likely_language({"la": 0.4, "en": 0.1, "de": 0.04}, options) == expected
    assert likely_language({"la": 0.4, "de": 0.3, "en": 0.1}, Options()) == "la"


def english_only(**options: object) -> Plan:
    wanted = Options.model_validate(options)
    return make_plan(
        wanted, Settings(whisper_models=["micro.en"]), Vocabulary(MICRO, multilingual=False), "cpu"
    )


def test_an_english_only_model_hears_english_whatever_is_expected() -> None:
    other = {"languages": ["de"]}
    with pytest.raises(InvalidRequest, match="'en', not in one of: de") as caught:
        english_only(on_other_language="reject", **other)
    assert caught.value.param == "languages"
    with pytest.raises(InvalidRequest, match="knows none of the languages"):
        english_only(on_other_language="nearest", **other)
    allowed = english_only(on_other_language="allow", **other)
    assert (allowed.language, allowed.is_expected) == ("en", False)
    for options in ({}, {"languages": ["de", "en"]}, {"language": "en", "languages": ["de"]}):
        assert english_only(**options).is_expected


# --- doubts -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "fits"),
    [(51865, True), (51872, True), (51866, False), (51864, False), (50364, False)],
    ids=["its own", "filled up", "large-v3", "English alone", "too few"],
)
def test_another_models_tokenizer_is_refused(tokens: int, fits: bool) -> None:
    """With it a model would be served whose every timestamp is another token."""
    vocabulary = Vocabulary(MICRO, multilingual=True)
    with nullcontext() if fits else pytest.raises(ValueError, match="is another model's: 51865"):
        vocabulary.check_fits(tokens)


@pytest.mark.parametrize(
    ("logprob", "no_speech", "expected"),
    [(-1.2, 0.7, True), (-1.2, 0.5, False), (-0.2, 0.7, False), (math.nan, 0.7, True)],
)
def test_a_window_is_silence_if_probably_nobody_speaks_and_its_text_is_unlikely(
    logprob: float, no_speech: float, expected: bool
) -> None:
    """The mean over no token is no number."""
    outcome = Outcome(avg_logprob=logprob, no_speech_prob=no_speech)
    assert outcome.is_silence(THRESHOLDS) is expected


GOOD = Outcome(avg_logprob=-0.3, compression_ratio=1.2, no_speech_prob=0.1)


def reasons(
    outcome: Outcome = GOOD,
    text: str = "Good morning.",
    spoken_share: float | None = None,
) -> list[str]:
    return doubts(text=text, outcome=outcome, thresholds=THRESHOLDS, spoken_share=spoken_share)


def test_a_good_segment_has_no_doubts() -> None:
    assert reasons(spoken_share=0.3) == []


def test_each_reason_has_its_name() -> None:
    assert reasons(Outcome(compression_ratio=3.0)) == ["repetition"]
    assert reasons(text="no, no, no, no") == ["repetition"]
    assert reasons(Outcome(avg_logprob=-1.2)) == ["low_logprob"]
    assert reasons(Outcome(no_speech_prob=0.7)) == ["no_speech"]
    assert reasons(spoken_share=0.1) == ["outside_speech"]


def test_a_likely_text_is_not_left_out_for_sounding_like_no_speech_alone() -> None:
    likely = reasons(Outcome(no_speech_prob=0.7, avg_logprob=-0.2))
    assert (likely, is_left_out(likely)) == (["no_speech"], False)
    unlikely = reasons(Outcome(no_speech_prob=0.7, avg_logprob=-1.2))
    assert (unlikely, is_left_out(unlikely)) == (["low_logprob", "no_speech"], True)
    assert not is_left_out([])
    for reason in ("repetition", "low_logprob", "outside_speech", "language_switch"):
        assert is_left_out([reason])


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Thank you. Thank you. Thank you. Thank you.", True),
        ("Sechs, fünf, neun, neun, sechs", False),
        ("one two three one two three one two three one two three", True),
        ("A very very very long way", False),
        ("दादा दादी घर पर हैं।", False),
        ("नाना नाना नाना नाना", True),
        ("The DNS server is 1.1.1.1.", False),
        ("1.000.000.000.000", False),
        ("好的。好的。好的。好的。", True),
        ("", False),
    ],
)
def test_phrases_said_four_times_in_a_row_are_repetition(text: str, expected: bool) -> None:
    assert is_repetitive(text) is expected


# --- prompts ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def vocabulary() -> Vocabulary:
    """The tokens of the shipped model."""
    return Vocabulary(MICRO, multilingual=True)


def test_hotwords_and_previous_text_share_half_of_the_context(vocabulary: Vocabulary) -> None:
    long = vocabulary.encode(" word" * 400)
    names = vocabulary.encode(" Vienna Poland")
    prompt = vocabulary.prompt(language="en", task="transcribe", previous=long, hotwords=names)
    assert prompt[1 : 1 + len(names)] == names
    assert len(prompt) == 1 + 223 + 3


def test_only_the_last_223_tokens_of_a_prompt_count(vocabulary: Vocabulary) -> None:
    tokens = list(range(300))
    prompt = vocabulary.prompt(language="en", task="transcribe", previous=tokens)
    assert prompt[1:-3] == tokens[-223:]


def test_the_bytes_of_tokens_are_those_of_the_text(vocabulary: Vocabulary) -> None:
    text = " Müller à Łódź 東京"
    tokens = vocabulary.encode(text)
    assert b"".join(map(vocabulary.token_bytes, tokens)) == text.encode()
