"""LangChain: `OpenAIWhisperParser`, which sends its audio again as MP3 of 32 kbit/s."""

from importlib.metadata import version

from langchain_community.document_loaders.parsers.audio import OpenAIWhisperParser
from langchain_core.documents.base import Blob
from report import FILE, KEY, TEXT, URL, report


def ask(**asked: object) -> str:
    parser = OpenAIWhisperParser(api_key=KEY, base_url=URL, **asked)
    return parser.parse(Blob.from_path(FILE))[0].page_content


report(
    f"LangChain community {version('langchain-community')}",
    {
        "`OpenAIWhisperParser`": ask() == TEXT,
        "with language, prompt and temperature": ask(language="en", prompt="", temperature=0)
        == TEXT,
        "`verbose_json`": ask(response_format="verbose_json") == TEXT,
    },
)
