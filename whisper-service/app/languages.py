"""Whisper's hundred languages: their codes, their English names, and how users spell them.

Codes are Whisper's own (ISO 639-1 where one exists; ``jw``, ``haw`` and ``yue`` are its exceptions).
Names are those of the reference implementation (openai/whisper, tokenizer.py), in lower case.
The worker owns this file; the gateway holds a byte-for-byte copy, checked by a test.
"""

SHOWN_SPELLING = 40
"""Characters of what is no language that an error quotes."""

# Whisper's code, ISO 639-3 code, English name.
_TABLE = """
af afr afrikaans
am amh amharic
ar ara arabic
as asm assamese
az aze azerbaijani
ba bak bashkir
be bel belarusian
bg bul bulgarian
bn ben bengali
bo bod tibetan
br bre breton
bs bos bosnian
ca cat catalan
cs ces czech
cy cym welsh
da dan danish
de deu german
el ell greek
en eng english
es spa spanish
et est estonian
eu eus basque
fa fas persian
fi fin finnish
fo fao faroese
fr fra french
gl glg galician
gu guj gujarati
ha hau hausa
haw haw hawaiian
he heb hebrew
hi hin hindi
hr hrv croatian
ht hat haitian creole
hu hun hungarian
hy hye armenian
id ind indonesian
is isl icelandic
it ita italian
ja jpn japanese
jw jav javanese
ka kat georgian
kk kaz kazakh
km khm khmer
kn kan kannada
ko kor korean
la lat latin
lb ltz luxembourgish
ln lin lingala
lo lao lao
lt lit lithuanian
lv lav latvian
mg mlg malagasy
mi mri maori
mk mkd macedonian
ml mal malayalam
mn mon mongolian
mr mar marathi
ms msa malay
mt mlt maltese
my mya myanmar
ne nep nepali
nl nld dutch
nn nno nynorsk
no nor norwegian
oc oci occitan
pa pan punjabi
pl pol polish
ps pus pashto
pt por portuguese
ro ron romanian
ru rus russian
sa san sanskrit
sd snd sindhi
si sin sinhala
sk slk slovak
sl slv slovenian
sn sna shona
so som somali
sq sqi albanian
sr srp serbian
su sun sundanese
sv swe swedish
sw swa swahili
ta tam tamil
te tel telugu
tg tgk tajik
th tha thai
tk tuk turkmen
tl tgl tagalog
tr tur turkish
tt tat tatar
uk ukr ukrainian
ur urd urdu
uz uzb uzbek
vi vie vietnamese
yi yid yiddish
yo yor yoruba
yue yue cantonese
zh zho chinese
"""

LANGUAGES: dict[str, str] = {}
"""English name by Whisper's code."""

_SPELLINGS: dict[str, str] = {
    # Other names in use: those of the reference implementation, ISO 639-1's own code of Javanese, and the
    # codes that Java before 17 and Android still have for Hebrew, Indonesian and Yiddish.
    "burmese": "my",
    "valencian": "ca",
    "flemish": "nl",
    "haitian": "ht",
    "letzeburgesch": "lb",
    "pushto": "ps",
    "panjabi": "pa",
    "moldavian": "ro",
    "moldovan": "ro",
    "sinhalese": "si",
    "castilian": "es",
    "mandarin": "zh",
    "norwegian nynorsk": "nn",
    "jv": "jw",
    "iw": "he",
    "in": "id",
    "ji": "yi",
    "nb": "no",
    "cmn": "zh",
    "fil": "tl",
}

# Further codes of ISO 639, as containers have them on their tracks, and those of the commonest of several languages.
_FURTHER = """
alb sq arb ar arm hy baq eu bur my chi zh cze cs dut nl fre fr geo ka ger de gre el ice is mac mk
mao mi may ms nob no per fa rum ro slo sk swh sw tib bo wel cy
"""
_pairs = iter(_FURTHER.split())
_SPELLINGS |= dict(zip(_pairs, _pairs, strict=True))

for _row in _TABLE.strip().splitlines():
    _code, _iso3, _name = _row.split(" ", 2)
    LANGUAGES[_code] = _name
    _SPELLINGS |= {_code: _code, _iso3: _code, _name: _code}


def language_code(spelling: str) -> str:
    """Return Whisper's code for a language given as code, ISO 639-3 code, English name or region tag.

    Case does not matter: ``de``, ``DEU``, ``German`` and ``de-AT`` all give ``de``.
    Raises ValueError for anything else.
    """
    wanted = spelling.strip().lower().replace("_", "-")
    code = _SPELLINGS.get(wanted) or _SPELLINGS.get(wanted.split("-")[0])
    if code is None:
        raise ValueError(f"{spelling[:SHOWN_SPELLING]!a} is not a language that Whisper knows")
    return code
