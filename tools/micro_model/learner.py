"""One step of learning: the losses, and the optimizers that follow them.

The loss is the cross entropy of the next token, plus a CTC loss that makes the encoder alone know what
is said, plus the guide that makes chosen heads follow the sound. Of the 51,865 tokens only those of the
grammar are trained; a random sample of the others, which stay as they are, keeps their logits low.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from . import tokens
from .batches import Batch
from .checkpoint import SpokenHead
from .features import log_mel
from .muon import Muon
from .network import Whisper
from .precision import fastest_type
from .windows import IGNORED

CTC_SHARE, GUIDE_SHARE = 0.25, 0.2
UNTRAINED_SAMPLE = 1024
DECIDING_WEIGHT = (
    25.0  # of a language and of "nothing is said": one token there decides the whole text
)
SMOOTHING = 0.97  # of the reported losses


class Learner:
    """Learns from batches; keeps the optimizers and smoothed losses."""

    def __init__(self, model: Whisper, spoken: SpokenHead, lr: float, muon_lr: float) -> None:
        self.model, self.spoken = model, spoken
        device = spoken.weight.device
        specials = range(tokens.END, tokens.FIRST_TIMESTAMP + tokens.TIMESTAMPS)
        used = sorted({*spoken.known.tolist(), *specials})
        rest = sorted(set(range(tokens.VOCABULARY)) - set(used))
        self.used, self.rest = (torch.tensor(x, device=device) for x in (used, rest))
        self.row = torch.full((tokens.VOCABULARY,), IGNORED, device=device)
        self.row[self.used] = torch.arange(len(used), device=device)
        self.heard = {token: at + 1 for at, token in enumerate(spoken.known.tolist())}
        self.table = model.decoder.token_embedding.weight.requires_grad_(False)
        self.embedding = nn.Parameter(self.table[self.used].clone())
        self.lr, self.muon_lr, self.rate = lr, muon_lr, 0.0
        self.dtype = fastest_type(device)
        self._optimizers()
        self.reported: dict[str, float] = {}

    def _optimizers(self) -> None:
        named = [(n, p) for n, p in self.model.named_parameters() if p.requires_grad]
        hidden = [p for n, p in named if p.ndim == 2 and ".blocks." in n]
        matrices = [p for n, p in named if p.ndim > 1 and not (p.ndim == 2 and ".blocks." in n)]
        vectors = [p for _, p in named if p.ndim == 1]
        groups = [
            {"params": [self.embedding, *matrices], "weight_decay": 0.01},
            {"params": [*vectors, *self.spoken.parameters()], "weight_decay": 0.0},
        ]
        self.adam = torch.optim.AdamW(groups, lr=self.lr, betas=(0.9, 0.98), fused=True)
        self.muon = Muon(hidden, lr=self.muon_lr, dtype=self.dtype)
        self.trained = [
            p for o in (self.adam, self.muon) for g in o.param_groups for p in g["params"]
        ]

    def share_memory(self) -> None:
        """Let processes forked from now on train the same weights, each with its own optimizers."""
        self.model.share_memory(), self.spoken.share_memory(), self.embedding.share_memory_()  # type: ignore[no-untyped-call]

    def learn(self, batch: Batch, rate: float) -> str:
        """Take one step at a share `rate` of the highest rates; return smoothed losses as text."""
        self.rate = rate
        for optimizer, highest in ((self.adam, self.lr), (self.muon, self.muon_lr)):
            for group in optimizer.param_groups:
                group["lr"] = highest * rate
        losses = self.losses(batch)
        loss = losses["text"] + CTC_SHARE * losses["ctc"] + GUIDE_SHARE * losses["guide"]
        self.adam.zero_grad(), self.muon.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(self.trained, 1.0)
        self.adam.step(), self.muon.step()
        with torch.no_grad():
            self.table[self.used] = self.embedding
        return self._report(
            losses | {f"right{batch.samples.shape[1] // 16000}": losses.pop("right")}
        )

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the three losses, and the shares of text tokens and of languages that are right."""
        device = self.embedding.device
        mel = log_mel(batch.samples.to(device), batch.sizes.to(device), spoiled=True)
        inputs, targets = batch.inputs.to(device), batch.targets.to(device).flatten()
        is_half = self.dtype == torch.bfloat16
        with torch.autocast(device.type, torch.bfloat16, enabled=is_half):
            with torch.set_grad_enabled(not batch.decoder_only):
                memory = self.model.encoder(mel, batch.offset)
            embedded = functional.embedding(self.row[inputs], self.embedding)
            features, guide = self.model.decoder(embedded, memory, batch.places.to(device))
        counted = targets != IGNORED
        others = self.rest[torch.randint(len(self.rest), (UNTRAINED_SAMPLE,), device=device)]
        candidates = torch.cat([self.embedding, self.table[others]])
        logits = features.float().flatten(0, 1)[counted] @ candidates.T
        wanted = self.row[targets[counted]]
        target = targets[counted]
        right = (logits.argmax(1) == wanted).float()
        language = (target >= tokens.FIRST_LANGUAGE) & (target <= tokens.LAST_LANGUAGE)
        deciding = language | (target == tokens.NO_SPEECH)
        weights = 1 + (DECIDING_WEIGHT - 1) * deciding.float()
        each = functional.cross_entropy(logits, wanted, reduction="none")
        return {"text": (each * weights).sum() / weights.sum(), "ctc": self._ctc(memory, batch),
                "guide": guide, "right": right[target < tokens.END].mean(),
                "language": right[language].mean()}  # fmt: skip

    def _ctc(self, memory: Tensor, batch: Batch) -> Tensor:
        """Read the words from the encoder alone, at pairs of positions (40 ms)."""
        if batch.decoder_only or not batch.spoken:
            return memory.new_zeros(())
        rows = [row for row, _ in batch.spoken]
        pairs = functional.avg_pool1d(memory[rows].float().transpose(1, 2), 2).permute(2, 0, 1)
        known = [[self.heard[token] for token in text] for _, text in batch.spoken]
        flat = torch.tensor([token for text in known for token in text], dtype=torch.long)
        sizes = torch.tensor([len(text) for text in known])
        log_probs = functional.log_softmax(self.spoken(pairs), -1)
        lengths = torch.full((len(rows),), len(pairs))
        return functional.ctc_loss(
            log_probs, flat.to(memory.device), lengths, sizes, zero_infinity=True
        )

    def _report(self, losses: dict[str, Tensor]) -> str:
        for name, loss in losses.items():
            value = float(loss.detach())
            if value == value:  # a batch without text has no share of right tokens
                before = self.reported.get(name, value)
                self.reported[name] = SMOOTHING * before + (1 - SMOOTHING) * value
        return " ".join(f"{name} {value:.3f}" for name, value in sorted(self.reported.items()))
