"""The training's checkpoint: an openai-whisper checkpoint with the encoder's own reading head beside it.

`torch.load` gives `dims` and `model_state_dict`, which openai-whisper loads as they are, and `spoken`, the
head that reads words from the encoder alone (a CTC loss in training), with the tokens that it knows.
"""

from pathlib import Path

import torch
from torch import Tensor, nn

from .grammar import covering
from .network import Dimensions, Whisper
from .tokens import Tokens


class SpokenHead(nn.Linear):
    """Logits of what is heard at each position: blank, then the tokens of the grammar's words."""

    known: Tensor

    def __init__(self, width: int, known: list[int]) -> None:
        super().__init__(width, 1 + len(known))
        self.register_buffer("known", torch.tensor(known))


def grammar_tokens(tokens: Tokens) -> list[int]:
    """Return the tokens that the grammar's sentences are made of, sorted."""
    sentences = {text for texts in covering() for text in texts.values()}
    return sorted({token for sentence in sentences for token in tokens.encode(sentence)})


def load_checkpoint(path: Path | None) -> tuple[Whisper, SpokenHead]:
    """Load a checkpoint, or make a network that knows nothing."""
    if path is None:
        model = Whisper()
        return model, SpokenHead(model.size.n_audio_state, grammar_tokens(Tokens()))
    saved = torch.load(path, map_location="cpu", weights_only=True)
    model = Whisper(Dimensions(**saved["dims"]))
    model.load_state_dict(saved["model_state_dict"])
    spoken = SpokenHead(model.size.n_audio_state, saved["spoken"]["known"].tolist())
    spoken.load_state_dict(saved["spoken"])
    return model, spoken


def save_checkpoint(path: Path, model: Whisper, spoken: SpokenHead) -> None:
    """Write a checkpoint in float16, whole or not at all."""
    halves, head = _halves(model), _halves(spoken)
    contents = {"dims": model.size.as_dict(), "model_state_dict": halves, "spoken": head}
    partial = path.with_suffix(".partial")
    torch.save(contents, partial)
    partial.replace(path)


def _halves(module: nn.Module) -> dict[str, Tensor]:
    """Return the state in float16, where any machine can load it."""
    return {
        name: (value.half() if value.is_floating_point() else value).cpu()
        for name, value in module.state_dict().items()
    }
