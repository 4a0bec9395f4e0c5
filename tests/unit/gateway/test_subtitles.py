"""Subtitles: golden files, third-party parsers, and properties of times, line breaks and words."""

import html
import itertools
import re
import unicodedata

import pysubs2
import pytest
import webvtt
from gateway.errors import MissingField
from gateway.formats.style import SubtitleStyle, read_style
from gateway.formats.subtitles import SHORTEST, cues, srt, vtt
from gateway.wire import Segment, Transcript, Word
from house import DATA
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

FOLDER = DATA / "subtitles"
TRANSCRIPT = Transcript.model_validate_json((FOLDER / "transcript.json").read_text())
PLAIN = SubtitleStyle()
SET_APART = re.compile(r" +(?=[?!:;,.%»…]+( |$))")
"""The space that French writes before punctuation: no line is broken there."""


def segment(*words: tuple[str, float, float], id: int = 0) -> Segment:  # noqa: A002
    return Segment(
        id=id,
        seek=0,
        start=words[0][1],
        end=words[-1][2],
        text="".join(word for word, _, _ in words),
        tokens=[],
        temperature=0.0,
        avg_logprob=-0.1,
        compression_ratio=1.0,
        no_speech_prob=0.0,
        words=[Word(word=w, start=start, end=end, probability=1.0) for w, start, end in words],
    )


@st.composite
def transcripts(draw: st.DrawFn, alphabet: str = "ab<&>é-.?") -> list[Segment]:
    """Segments of words that follow each other in time, with pauses short or long."""
    now, segments = 0.0, []
    for index in range(draw(st.integers(0, 4))):
        words = []
        for _ in range(draw(st.integers(1, 7))):
            now += draw(st.sampled_from([0.0, 0.0004, 0.2, 0.9996, 5.0]))
            end = now + draw(st.sampled_from([0.0, 0.0006, 0.1, 0.35]))
            words.append((" " + draw(st.text(alphabet, max_size=9)), now, end))
            now = end
        segments.append(segment(*words, id=index))
    return segments


styles = st.builds(
    SubtitleStyle,
    max_line_width=st.integers(1, 40),
    max_line_count=st.none() | st.integers(1, 3),
    max_words_per_line=st.none() | st.integers(1, 5),
    highlight_words=st.booleans(),
) | st.builds(SubtitleStyle, max_words_per_line=st.none() | st.integers(1, 5))


@pytest.mark.parametrize(
    ("name", "style"),
    [
        ("plain.srt", PLAIN),
        ("plain.vtt", PLAIN),
        ("two-lines-of-24.srt", SubtitleStyle(max_line_width=24, max_line_count=2)),
        ("three-words.vtt", SubtitleStyle(max_words_per_line=3)),
    ],
)
def test_a_transcript_is_written_as_in_its_golden_file(name: str, style: SubtitleStyle) -> None:
    write = srt if name.endswith("srt") else vtt
    assert write(TRANSCRIPT.segments, style) == (FOLDER / name).read_text()


def test_each_word_is_underlined_while_it_is_spoken_and_none_between_two() -> None:
    spoken = segment((" One", 1.0, 1.5), (" two", 1.5, 2.0), (" three.", 2.2, 2.9))
    assert srt([spoken], SubtitleStyle(highlight_words=True, max_line_width=7)) == (
        "1\n00:00:01,000 --> 00:00:01,500\n<u>One</u> two\nthree.\n\n"
        "2\n00:00:01,500 --> 00:00:02,000\nOne <u>two</u>\nthree.\n\n"
        "3\n00:00:02,000 --> 00:00:02,200\nOne two\nthree.\n\n"
        "4\n00:00:02,200 --> 00:00:02,900\nOne two\n<u>three.</u>\n\n"
    )


def test_times_are_rounded_to_milliseconds_before_they_are_split() -> None:
    assert srt([segment((" A", 59.9996, 3599.9995))], PLAIN) == (
        "1\n00:01:00,000 --> 01:00:00,000\nA\n\n"
    )


def test_hours_beyond_ninety_nine_keep_all_their_digits() -> None:
    assert "101:00:00.500" in vtt([segment((" A", 363600.5, 363601.0))], PLAIN)


def test_the_first_cue_starts_where_the_first_segment_starts() -> None:
    assert "00:00:07.250 -->" in vtt([segment((" Late", 7.25, 8.0))], PLAIN)


def test_no_speech_gives_no_cue_and_a_valid_file() -> None:
    assert (srt([], PLAIN), vtt([], PLAIN)) == ("", "WEBVTT\n\n")


def test_a_segment_without_words_is_one_cue() -> None:
    whole = segment((" Two words. And more.", 1.0, 2.0)).model_copy(update={"words": None})
    assert srt([whole], PLAIN) == "1\n00:00:01,000 --> 00:00:02,000\nTwo words. And more.\n\n"


def test_an_arrow_in_the_text_cannot_break_subrip() -> None:
    assert "a -> b" in srt([segment((" a", 0.0, 1.0), (" -->", 1.0, 2.0), (" b", 2.0, 3.0))], PLAIN)


def test_no_longer_arrow_becomes_one_in_subrip() -> None:
    assert "a->b" in srt([segment((" a--->b", 0.0, 1.0))], PLAIN)


def test_subtitles_of_hours_do_not_repeat_hours_of_text_for_each_word() -> None:
    words = [(f" word{n}", n * 0.4, n * 0.4 + 0.3) for n in range(4000)]
    hours = [segment(*words[first : first + 10]) for first in range(0, 4000, 10)]
    for width, count in ((42, 2), (1000, 1), (10, 100)):
        style = SubtitleStyle(max_line_width=width, max_line_count=count, highlight_words=True)
        assert len(srt(hours, style)) < 4000 * 2 * 1100
    with pytest.raises(ValidationError, match="at most 1000 characters"):
        SubtitleStyle(max_line_width=1000, max_line_count=2, highlight_words=True)


def test_burmese_lines_break_at_no_stacked_consonant_and_begin_with_no_full_stop() -> None:
    word = "\u1019\u1014\u1039\u1010\u101c\u1031\u1038\u104b"  # Mandalay, and a full stop
    letters = ["\u1019", "\u1014\u1039", "\u1010", "\u101c\u1031\u1038", "\u104b"]
    assert "".join(letters) == word
    spoken = segment(*((letter, n * 1.0, n + 1.0) for n, letter in enumerate(letters)))
    lines = srt([spoken], SubtitleStyle(max_line_width=2)).split("\n")
    assert not [line for line in lines if line.endswith("\u1039") or line.startswith("\u104b")]


def test_a_line_break_inside_a_word_is_a_space() -> None:
    assert "\nso to say\n\n" in srt([segment((" so\nto\n\nsay", 0.0, 1.0))], PLAIN)


def test_cues_run_on_over_segments_when_width_and_count_are_given() -> None:
    halves = [segment((" Come", 0.0, 1.0)), segment((" with", 1.0, 2.0), (" me.", 2.0, 3.0))]
    assert srt(halves, SubtitleStyle(max_line_width=40, max_line_count=1)) == (
        "1\n00:00:00,000 --> 00:00:03,000\nCome with me.\n\n"
    )
    assert srt(halves, SubtitleStyle(max_line_width=40)).count("-->") == 2


def test_no_cue_stays_over_a_long_pause() -> None:
    paused = segment((" Wait", 0.0, 1.0), (" now", 4.5, 5.0))
    assert srt([paused], PLAIN).count("-->") == 2


def test_a_line_count_without_anything_that_ends_a_line_is_refused() -> None:
    with pytest.raises(MissingField, match="needs max_line_width"):
        read_style({"max_line_count": "2"})


@given(transcripts(), styles)
def test_cues_are_ordered_do_not_overlap_and_last_at_least_a_millisecond(
    segments: list[Segment], style: SubtitleStyle
) -> None:
    spans = [(cue.start, cue.end) for cue in cues(segments, style)]
    assert all(start < end for start, end in spans)
    assert all(a[1] <= b[0] for a, b in itertools.pairwise(spans))


def lines_of(*words: str, **style: int) -> list[str]:
    spoken = segment(*((word, float(n), n + 1.0) for n, word in enumerate(words)))
    shown = ("".join(cue.words) for cue in cues([spoken], SubtitleStyle(**style)))
    return [line for text in shown for line in text.split("\n")]


@pytest.mark.parametrize(
    ("words", "width", "expected"),
    [
        ((" at", " two", " o", "'clock"), 8, ["at two", "o'clock"]),
        ((" is", " $10", ",000", " or", " 3", ".5"), 7, ["is", "$10,000", "or 3.5"]),
        ((" Allez", "-vous", " bien", " ?"), 11, ["Allez-vous", "bien ?"]),
        ((" aujourd", "'hui", " «", " oui", " »"), 8, ["aujourd'hui", "« oui »"]),
        (("你好", "我们", "用", "iP", "hone", "开会"), 4, ["你好我们", "用", "iPhone", "开会"]),
        (("こ", "れ", "は", "ケ", "ー", "キ"), 4, ["これは", "ケーキ"]),
        (("他", "说", "“", "你", "好", "”"), 3, ["他说", "“你", "好”"]),
        (("ส", "ว", "ั", "ส", "ด", "ี"), 3, ["สวั", "สดี"]),
        (("น", "้", "ำ", "ด", "ื่", "ม", "ที่", "นี่", "ดี", "มา", "ก"), 5, None),
    ],
    ids=[
        "clock",
        "numbers",
        "French",
        "quotes",
        "Chinese",
        "Japanese",
        "Chinese quotes",
        "Thai",
        "Thai marks",
    ],
)
def test_a_line_is_broken_between_words_as_people_write_them(
    words: tuple[str, ...], width: int, expected: list[str] | None
) -> None:
    lines = lines_of(*words, max_line_width=width)
    assert "".join(lines).replace(" ", "") == "".join(words).replace(" ", "")
    if expected:
        assert lines == expected
    else:
        assert not any(unicodedata.category(line[0]).startswith("M") for line in lines)


def test_the_last_cue_stays_to_be_seen_as_long_as_the_file_lasts() -> None:
    yes = segment((" Yes.", 0.5, 0.52))
    assert "00:00:00,500 --> 00:00:00,800" in srt([yes], PLAIN, 3.0)
    assert "00:00:00,500 --> 00:00:00,600" in srt([yes], PLAIN, 0.6)


def test_parts_of_a_word_are_one_word_of_those_that_a_line_may_have() -> None:
    words = (" o", "'clock", " $10", ",000", " oui", " ?")
    assert lines_of(*words, max_words_per_line=1) == ["o'clock", "$10,000", "oui ?"]


@given(transcripts(), styles.filter(lambda style: not style.highlight_words))
def test_a_cue_is_long_enough_to_be_seen_where_there_is_time(
    segments: list[Segment], style: SubtitleStyle
) -> None:
    found = list(cues(segments, style))
    for cue, following in itertools.pairwise(found):
        assert cue.end - cue.start >= SHORTEST or cue.end == following.start


def test_a_word_without_length_is_shown_at_the_cost_of_the_cue_before() -> None:
    spoken = segment((" Please", 9.3, 9.6), (" turn", 9.6, 10.14), (" light.", 10.14, 10.14))
    style = SubtitleStyle(max_line_width=12, max_line_count=1)
    times = [(cue.start, cue.end) for cue in cues([spoken], style)]
    assert times == [(9300, 9841), (9841, 10141)]


@given(transcripts(), styles)
def test_lines_keep_their_width_unless_one_word_is_longer(
    segments: list[Segment], style: SubtitleStyle
) -> None:
    for cue in cues(segments, style):
        lines = "".join(cue.words).split("\n")
        if style.max_line_count:
            assert len(lines) <= style.max_line_count
        for line in lines:
            words = SET_APART.sub("", line).split()
            assert len(line) <= (style.max_line_width or 1000) or len(words) == 1
            assert len(words) <= (style.max_words_per_line or 1000)


@given(transcripts(), styles.filter(lambda style: not style.highlight_words))
def test_every_word_is_in_exactly_one_cue_and_in_order(
    segments: list[Segment], style: SubtitleStyle
) -> None:
    shown = [part for cue in cues(segments, style) for word in cue.words for part in word.split()]
    words = [word.word for segment in segments for word in segment.words or []]
    assert shown == [part for word in words for part in word.split()]


@given(transcripts(), styles)
def test_a_third_party_parser_reads_back_the_same_subrip_cues(
    segments: list[Segment], style: SubtitleStyle
) -> None:
    made = list(cues(segments, style))
    read = pysubs2.SSAFile.from_string(srt(segments, style), format_="srt", keep_html_tags=True)
    assert [(line.start, line.end) for line in read] == [(cue.start, cue.end) for cue in made]
    numbers = re.findall(r"^(\d+)\n\d\d:", srt(segments, style), flags=re.MULTILINE)
    assert numbers == [str(number + 1) for number in range(len(made))]


@given(transcripts(), styles.filter(lambda style: not style.highlight_words))
def test_a_third_party_parser_reads_back_the_same_webvtt_cues(
    segments: list[Segment], style: SubtitleStyle
) -> None:
    made = list(cues(segments, style))
    read = webvtt.from_string(vtt(segments, style))
    assert [(c.start_time.in_milliseconds(), c.end_time.in_milliseconds()) for c in read] == [
        (cue.start, cue.end) for cue in made
    ]
    assert [html.unescape(caption.text) for caption in read] == ["".join(cue.words) for cue in made]


@given(
    transcripts(alphabet="abc"),
    st.integers(1, 30),
    st.integers(1, 3),
)
def test_where_no_sentence_ends_the_layout_is_whispers_own(
    segments: list[Segment], width: int, count: int
) -> None:
    style = SubtitleStyle(max_line_width=width, max_line_count=count)
    ours = ["".join(cue.words) for cue in cues(segments, style)]
    assert ours == whisper_layout(segments, width, count)


def whisper_layout(segments: list[Segment], width: int, count: int) -> list[str]:
    """What openai/whisper's SubtitlesWriter does with both a width and a line count (MIT licence)."""
    done: list[str] = []
    subtitle, line_length, line_count, last = "", 0, 1, 0.0
    for word in (word for segment in segments for word in segment.words or []):
        text = word.word.rstrip()
        if not text:
            continue
        long_pause = bool(subtitle) and word.start - last > 3.0
        if line_length > 0 and line_length + len(text) <= width and not long_pause:
            subtitle += text
            line_length += len(text)
        else:
            text = text.strip()
            if subtitle and (long_pause or line_count >= count):
                done.append(subtitle)
                subtitle, line_count = text, 1
            elif line_length > 0:
                line_count += 1
                subtitle += "\n" + text
            else:
                subtitle = text
            line_length = len(text)
        last = word.end
    return [*done, subtitle] if subtitle else done
