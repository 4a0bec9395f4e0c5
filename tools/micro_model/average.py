"""Averages two checkpoints, of which one began with the other.

    python -m tools.micro_model.average BEFORE.pt AFTER.pt OUT.pt --share 0.75

Weights on the way between the two often generalize better than either (WiSE-FT: Wortsman et al., 2022).
"""

import argparse
from pathlib import Path

import torch

from .checkpoint import load_checkpoint, save_checkpoint


def average(before: Path, after: Path, target: Path, share: float) -> None:
    """Write what lies `share` of the way from `before` (0) to `after` (1)."""
    start, end = load_checkpoint(before), load_checkpoint(after)
    with torch.no_grad():
        for module, other in zip(start, end, strict=True):
            for weight, goal in zip(module.parameters(), other.parameters(), strict=True):
                weight.lerp_(goal, share)
    save_checkpoint(target, *start)


def main() -> None:
    """Average as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("before", type=Path)
    parser.add_argument("after", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--share", type=float, default=0.5, help="of the second checkpoint")
    options = parser.parse_args()
    average(options.before, options.after, options.out, options.share)


if __name__ == "__main__":
    main()
