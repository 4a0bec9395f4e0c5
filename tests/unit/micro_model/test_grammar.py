"""The grammar draws the same sentence in four languages, and keeps some for the evaluation."""

import random

from faster_whisper.tokenizer import Tokenizer as WhisperTokenizer

from tools.micro_model.grammar import counterparts, covering, draw, is_unseen
from tools.micro_model.tokens import END, FIRST_TIMESTAMP, Tokens, timestamp


def test_a_draw_means_the_same_in_each_language() -> None:
    assert draw(random.Random(1)) == {
        "en": "The train to Vienna leaves at three o'clock.",
        "de": "Der Zug nach Wien fährt um drei Uhr ab.",
        "fr": "Le train pour Vienne part à trois heures.",
        "es": "El tren a Viena sale a las tres.",
    }


def test_no_place_of_a_pattern_is_left_empty() -> None:
    rng = random.Random(2)
    for texts in [*covering(), *(draw(rng) for _ in range(500))]:
        for text in texts.values():
            assert "{" not in text
            assert text[0] == text[0].upper()


def test_a_few_sentences_are_kept_for_the_evaluation_and_always_the_same() -> None:
    rng = random.Random(3)
    drawn = [draw(rng) for _ in range(5000)]
    kept = [texts for texts in drawn if is_unseen(texts)]
    assert 0.005 < len(kept) / len(drawn) < 0.03
    assert all(is_unseen(texts) for texts in kept)


def test_where_there_are_few_all_are_trained() -> None:
    assert not is_unseen({"en": "Yes, of course."})
    few = [texts for texts in covering() if texts["en"].startswith(("Please turn off", "My favo"))]
    assert len(few) > 6
    assert not any(is_unseen(texts) for texts in few)


def test_every_token_of_a_drawn_sentence_is_among_those_of_the_covering_ones() -> None:
    tokens, rng = Tokens(), random.Random(4)
    known = {token for texts in covering() for t in texts.values() for token in tokens.encode(t)}
    for _ in range(1000):
        for text in draw(rng).values():
            assert known.issuperset(tokens.encode(text)), text


def test_no_sentence_needs_a_token_that_whisper_never_writes() -> None:
    tokens = Tokens()
    whisper = WhisperTokenizer(tokens._tokenizer, True, task="transcribe", language="en")
    never = set(whisper.non_speech_tokens)
    assert set(tokens.encode("a : b")) & never
    for texts in covering():
        for text in texts.values():
            assert not never.intersection(tokens.encode(text)), text


def test_text_is_encoded_after_a_space_and_below_the_special_tokens() -> None:
    tokens = Tokens()
    ids = tokens.encode("Good morning.")
    assert ids == [2205, 2446, 13]
    assert max(ids) < END
    assert sum(tokens.characters(token) for token in ids) == len(" Good morning.")
    assert tokens.languages == {"en": 50259, "de": 50261, "fr": 50265, "es": 50262}


def test_a_timestamp_is_never_later_than_30_s() -> None:
    assert timestamp(0) == FIRST_TIMESTAMP == 50364
    assert timestamp(1500) == timestamp(1600) == 51864


def test_each_slot_of_a_translation_knows_which_words_it_stands_for() -> None:
    english = "Anna bought two chairs in Rome."
    german = "Anna hat in Rom zwei Stühle gekauft."
    found = counterparts(english, german, "de")
    assert [(english[slice(*a)], german[slice(*b)]) for a, b in found] == [
        ("Anna", "Anna"),
        ("two", "zwei"),
        ("chairs", "Stühle"),
        ("Rome", "Rom"),
    ]


def test_digits_are_paired_one_by_one() -> None:
    found = counterparts("One, two, one.", "Un, deux, un.", "fr")
    assert found == [((0, 3), (0, 2)), ((5, 8), (4, 8)), ((10, 13), (10, 12))]


def test_words_that_begin_alike_are_told_apart() -> None:
    english, german = "The price is sixty dollars.", "Der Preis beträgt sechzig Dollar."
    ((meant, said),) = counterparts(english, german, "de")
    assert (english[slice(*meant)], german[slice(*said)]) == ("sixty", "sechzig")


def test_sentences_that_do_not_belong_together_have_no_counterparts() -> None:
    assert counterparts("The price is two dollars.", "Ja, natürlich.", "de") == []
