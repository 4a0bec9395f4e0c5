"""Which language a file is in: the first windows vote, and nothing is decoded."""

from collections import Counter
from collections.abc import AsyncIterator

from ..decoding.language import choose_language, is_settled
from ..decoding.listener import Listener, Sound
from ..decoding.plan import Plan
from ..decoding.sources import FileSource
from ..wire import DetectedLanguage
from .reading import Reading


async def detected_language(reading: Reading, listener: Listener, plan: Plan) -> DetectedLanguage:
    """Hear as many windows as the vote needs; the language is None where nobody speaks."""
    if not listener.vocabulary.multilingual:
        return DetectedLanguage(language="en", language_probability=1.0, probabilities={"en": 1.0})
    heard: list[dict[str, float]] = []
    async for sound in _sounds(reading, plan):
        heard.append((await listener.hear(sound, plan)).languages)
        if is_settled(heard, plan.options):
            break
    if not heard:
        return DetectedLanguage(language=None)
    language = choose_language(heard, plan.options)
    totals = Counter[str]()
    for one in heard:
        totals.update(one)
    return DetectedLanguage(
        language=language.code,
        language_probability=language.probability,
        probabilities={code: total / len(heard) for code, total in totals.most_common()},
    )


async def _sounds(reading: Reading, plan: Plan) -> AsyncIterator[Sound]:
    """What is spoken, or the whole file where the VAD is not wanted."""
    if plan.vad:
        windows = reading.windows(plan.options.vad_parameters)
        while (window := await reading.next(windows)) is not None:
            yield Sound(window.samples, 0, is_whole=True)
        return
    blocks = reading.blocks()
    source = FileSource(lambda: reading.next(blocks))
    index = 0
    while (sound := await source.peek(index)) is not None:
        yield sound
        index += 1
