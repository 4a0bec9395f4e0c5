"""Muon (K. Jordan, 2024): momentum made orthogonal by Newton-Schulz steps, for hidden matrices."""

from collections import defaultdict
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
STEPS = 5


class Muon(torch.optim.Optimizer):
    """An optimizer for matrices alone; the rest is left to AdamW."""

    def __init__(
        self, params: Iterable[Tensor], lr: float, dtype: torch.dtype, momentum: float = 0.95
    ) -> None:
        """`dtype` is what Newton-Schulz multiplies in; bfloat16 is exact enough."""
        super().__init__(params, {"lr": lr, "momentum": momentum})
        self.dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update every matrix that has a gradient; matrices of one shape go together."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = defaultdict(list)
            for param in group["params"]:
                if param.grad is not None:
                    shapes[param.shape].append(param)
            for (rows, columns), params in shapes.items():
                directions = torch.stack([self._direction(p, group) for p in params])
                updates = orthogonal(directions, self.dtype)
                rate = group["lr"] * max(1, rows / columns) ** 0.5
                for param, update in zip(params, updates, strict=True):
                    param.add_(update, alpha=-rate)

    def _direction(self, param: Tensor, group: dict[str, Any]) -> Tensor:
        """Return the gradient with its momentum, looked at one step ahead (Nesterov)."""
        assert param.grad is not None
        momentum = self.state[param].setdefault("momentum", torch.zeros_like(param))
        momentum.lerp_(param.grad, 1 - group["momentum"])
        return param.grad.lerp(momentum, group["momentum"])


def orthogonal(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Bring all singular values of matrices (matrix, row, column) near 1; float32, multiplied in `dtype`."""
    a, b, c = COEFFICIENTS
    x = (matrices / (matrices.norm(dim=(-2, -1), keepdim=True) + 1e-7)).to(dtype)
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    for _ in range(STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    return (x.mT if tall else x).float()
