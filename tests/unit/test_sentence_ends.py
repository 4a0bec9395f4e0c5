"""Where a sentence ends: one rule for segments and for subtitle cues."""

import pytest
from worker.sentence_ends import ends_sentence


@pytest.mark.parametrize(
    ("word", "following", "ends"),
    [
        (" floor.", " Can", True),
        (" Wednesday?", " No", True),
        (" said.”", " Then", True),
        (" です。", "はい", True),
        (" है।", " और", True),
        (" Dr.", " Smith", False),
        (" J.", " Bach", False),
        (" p.m.", " Then", False),
        (" 9.", " am", False),
        (" 24.", " Dezember", False),
        (" XIV.", " König", False),
        (" 1989.", " Then", True),
        (" etc.", " and", False),
        (" Well,", " Then", False),
        (" 9.45", " Then", False),
        (" wait...", " What", True),
        (" Capt.", " Smith", False),
        (" Sr.", " López", False),
        (" bzw.", " Anna", False),
        (" 3.", " 50", False),
        (" ok!", " and", False),
        (" floor.", " “Can", True),
        (" said…", " but", False),
        (" Բարև։", " Ինչպե՞ս", True),  # noqa: RUF001
        (" გამარჯობა.", " როგორ", True),
        (" 네.", " 알겠습니다.", True),
        ("好.", "我来了", True),
        ("No.", "1", False),
        (" တယ်။", " မင်္ဂလာပါ", True),
        (" ạ.", " Hôm", True),
        (" 'è.", " Poi", True),
        (" é.", " Mas", True),
        (" я.", " А", True),  # noqa: RUF001
        (" г.", " Москва", False),  # noqa: RUF001
        (" a.", " M.", False),
        (";", " Είμαι", True),
        (" κάνεις;", " Είμαι", True),
        (" κάνεις;", " είμαι", False),
        (" Haus;", " Das", False),
        (" Sra.", " García", False),
        (" Srta.", " López", False),
    ],
)
def test_sentences_end_at_their_marks_and_not_at_titles_or_initials(
    word: str, following: str, ends: bool
) -> None:
    assert ends_sentence(word, following) is ends
