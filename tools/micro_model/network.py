"""Whisper's network (Radford et al., 2022) in PyTorch, with the reference's names for its weights.

It differs from the reference in two ways, both for training alone: the encoder takes windows shorter
than 30 s, placed anywhere in them, and the decoder can say how well chosen heads look where a token
is heard (`guide`), which teaches them to follow the sound. These become the alignment heads.
"""

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from .attention import attend

HEAD = 64  # features of one head, in every Whisper


@dataclass(frozen=True)
class Dimensions:
    """The sizes of a network, as an openai-whisper checkpoint carries them in `dims`."""

    n_mels: int = 80
    n_audio_ctx: int = 1500
    n_audio_state: int = 128
    n_audio_head: int = 2
    n_audio_layer: int = 4
    n_vocab: int = 51865
    n_text_ctx: int = 448
    n_text_state: int = 128
    n_text_head: int = 2
    n_text_layer: int = 4

    as_dict = asdict


# Decoder layers and their heads that are taught where tokens are heard.
GUIDED: dict[int, tuple[int, ...]] = {1: (0,), 2: (0, 1), 3: (0,)}


class Attention(nn.Module):
    """Multi-head attention; keys have no bias."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.value, self.out = (nn.Linear(width, width) for _ in range(3))
        self.key = nn.Linear(width, width, bias=False)

    def heads(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return queries, keys and values as (batch, head, position, feature)."""
        query, key, value = self.query(x), self.key(memory), self.value(memory)
        q, k, v = (y.unflatten(-1, (-1, HEAD)).transpose(1, 2) for y in (query, key, value))
        return q, k, v

    def forward(self, x: Tensor, memory: Tensor | None = None, *, causal: bool = False) -> Tensor:
        """Attend to `memory`, or to itself."""
        q, k, v = self.heads(x, x if memory is None else memory)
        if causal:
            mixed = functional.scaled_dot_product_attention(q, k, v, is_causal=True)
        else:
            mixed = attend(q, k, v)
        out: Tensor = self.out(mixed.transpose(1, 2).flatten(2))
        return out

    def guided(
        self, x: Tensor, memory: Tensor, places: Tensor, taught: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Attend to `memory`; also return -log of the attention that falls on the known places.

        `places` is (batch, token, 2): first and last position of each token, -1 where unknown.
        """
        q, k, v = self.heads(x, memory)
        mixed = attend(q, k, v)
        loss = _guide(q[:, list(taught)], k[:, list(taught)], places)
        return self.out(mixed.transpose(1, 2).flatten(2)), loss


def _guide(q: Tensor, k: Tensor, places: Tensor) -> Tensor:
    """Return the mean over heads and tokens with a known place; the others, prompts above all, cost nothing."""
    known = places[..., 0] >= 0
    most = int(known.sum(1).max())
    first = known.to(torch.int8).argsort(1, descending=True)[:, :most]
    known, places = known.gather(1, first), places.gather(1, first[..., None].expand(-1, -1, 2))
    q = q.gather(2, first[:, None, :, None].expand(-1, q.shape[1], -1, HEAD))
    weights = (q * HEAD**-0.5 @ k.transpose(-1, -2)).float().softmax(-1)
    at = torch.arange(k.shape[2], device=k.device)
    inside = (at >= places[..., :1]) & (at <= places[..., 1:])
    hits = (weights * inside[:, None]).sum(-1)
    losses = -(hits + 1e-4).log() * known[:, None]
    return losses.sum() / (known.sum() * q.shape[1]).clamp(min=1)


class EncoderBlock(nn.Module):
    """One layer of the encoder: attention to itself, then the two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.attn, self.attn_ln = Attention(width), nn.LayerNorm(width)
        wide = 4 * width
        self.mlp = nn.Sequential(nn.Linear(width, wide), nn.GELU(), nn.Linear(wide, width))
        self.mlp_ln = nn.LayerNorm(width)

    def forward(self, x: Tensor) -> Tensor:
        """Add to the residual."""
        x = x + self.attn(self.attn_ln(x))
        after: Tensor = x + self.mlp(self.mlp_ln(x))
        return after


class DecoderBlock(EncoderBlock):
    """One layer of the decoder: attention to the text so far, then to the sound."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.cross_attn, self.cross_attn_ln = Attention(width), nn.LayerNorm(width)

    def decode(
        self, x: Tensor, memory: Tensor, places: Tensor | None, taught: tuple[int, ...]
    ) -> tuple[Tensor, Tensor]:
        """Add to the residual; also return the guide's loss of the taught heads."""
        x = x + self.attn(self.attn_ln(x), causal=True)
        y = self.cross_attn_ln(x)
        guide = torch.zeros((), device=x.device)
        if places is not None and taught:
            y, guide = self.cross_attn.guided(y, memory, places, taught)
        else:
            y = self.cross_attn(y, memory)
        x = x + y
        return x + self.mlp(self.mlp_ln(x)), guide


class Encoder(nn.Module):
    """Mel (batch, mel, frame) to features (batch, position, feature), two frames a position."""

    positional_embedding: Tensor

    def __init__(self, size: Dimensions) -> None:
        super().__init__()
        width = size.n_audio_state
        self.conv1 = nn.Conv1d(size.n_mels, width, 3, padding=1)
        self.conv2 = nn.Conv1d(width, width, 3, stride=2, padding=1)
        self.register_buffer("positional_embedding", sinusoids(size.n_audio_ctx, width))
        self.blocks = nn.ModuleList(EncoderBlock(width) for _ in range(size.n_audio_layer))
        self.ln_post = nn.LayerNorm(width)

    def forward(self, mel: Tensor, offset: int = 0) -> Tensor:
        """Encode a window that begins `offset` positions into the 30 s."""
        x = functional.gelu(self.conv2(functional.gelu(self.conv1(mel)))).transpose(1, 2)
        x = (x + self.positional_embedding[offset : offset + x.shape[1]]).to(x.dtype)
        for block in self.blocks:
            x = block(x)
        encoded: Tensor = self.ln_post(x)
        return encoded


class Decoder(nn.Module):
    """Embedded tokens (batch, token, feature) to features that the embedding turns into logits."""

    def __init__(self, size: Dimensions) -> None:
        super().__init__()
        width = size.n_text_state
        self.token_embedding = nn.Embedding(size.n_vocab, width)
        self.positional_embedding = nn.Parameter(torch.empty(size.n_text_ctx, width))
        self.blocks = nn.ModuleList(DecoderBlock(width) for _ in range(size.n_text_layer))
        self.ln = nn.LayerNorm(width)
        nn.init.normal_(self.token_embedding.weight, std=0.05)
        nn.init.normal_(self.positional_embedding, std=0.02)

    def forward(
        self, embedded: Tensor, memory: Tensor, places: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return the features, and the guide's loss (0 without places)."""
        x = embedded + self.positional_embedding[: embedded.shape[1]]
        guide = torch.zeros((), device=x.device)
        for index, block in enumerate(self.blocks):
            assert isinstance(block, DecoderBlock)
            x, loss = block.decode(x, memory, places, GUIDED.get(index, ()))
            guide = guide + loss / len(GUIDED)
        return self.ln(x), guide


class Whisper(nn.Module):
    """Encoder and decoder."""

    def __init__(self, size: Dimensions | None = None) -> None:
        super().__init__()
        self.size = size or Dimensions()
        self.encoder, self.decoder = Encoder(self.size), Decoder(self.size)


def sinusoids(length: int, width: int) -> Tensor:
    """Return the encoder's fixed positions, as the reference computes them."""
    steps = torch.exp(
        -torch.arange(width // 2) * (torch.log(torch.tensor(10000.0)) / (width // 2 - 1))
    )
    angles = torch.arange(length)[:, None] * steps[None]
    return torch.cat([angles.sin(), angles.cos()], dim=1)
