"""Which language a file is in: the first windows vote, and nothing is decoded."""

from collections import Counter
from collections.abc import AsyncIterator

from ..decoding.language import ENGLISH_ONLY, choose_language, is_settled
from ..decoding.listener import Listener, Sound
from ..decoding.plan import Plan
from ..decoding.sources import FileSource
from ..wire import Detected, refuse_text_options
from .ballot import Ballot
from .reading import Reading


async def detected_language(reading: Reading, listener: Listener, plan: Plan) -> Detected:
    """Hear as many windows as the vote needs; the language is None where nobody speaks.

    Raises InvalidRequest for an option that means nothing here.
    """
    refuse_text_options(plan.options)
    heard: list[dict[str, float]] = []
    async for sound in _sounds(reading, plan):
        heard.append(await _languages(sound, listener, plan))
        if is_settled(heard, plan.options):
            break
    if not heard:
        return Detected(language=None)
    language = choose_language(heard, plan.options)
    totals = Counter[str]()
    for one in heard:
        totals.update(one)
    return Detected(
        language=language.code,
        language_probability=language.probability,
        probabilities={code: total / len(heard) for code, total in totals.most_common()},
    )


async def _languages(sound: Sound, listener: Listener, plan: Plan) -> dict[str, float]:
    if not listener.vocabulary.multilingual:
        return ENGLISH_ONLY
    return (await listener.detect_language(sound, plan, is_apart=True)).languages


async def _sounds(reading: Reading, plan: Plan) -> AsyncIterator[Sound]:
    """What is spoken, or the whole file where the VAD is not wanted."""
    if plan.vad:
        windows = reading.windows(plan.options.vad_parameters)
        ballot, is_first = Ballot(), True
        while (window := await reading.next(windows)) is not None:
            ballot.windows.append(window)
            if ballot.is_enough:
                yield ballot.sound
                ballot, is_first = Ballot(), False
        if ballot.windows and is_first:
            yield ballot.sound
        return
    blocks = reading.blocks()
    source = FileSource(lambda: reading.next(blocks))
    index = 0
    while (sound := await source.peek(index)) is not None:
        yield sound
        index += 1
    source.check()
