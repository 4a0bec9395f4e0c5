"""Trains micro, from nothing or from a checkpoint, on a GPU or on all cores of a CPU.

    python -m tools.micro_model.train CLIPS OUT.pt --minutes 120 [--init CHECKPOINT.pt]

The schedule follows the clock, so that a training ends when it should, whatever the machine. On a CPU
each core trains the same shared weights without locks (Hogwild: Niu et al., 2011): a core that others
use slows down alone. The checkpoint is written every few steps and is always fit for use.
"""

import argparse
import os
import random
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.multiprocessing.spawn import start_processes
from torch.utils.data import DataLoader

from .batches import Batches, Schedule
from .checkpoint import load_checkpoint, save_checkpoint
from .clips import load_set
from .learner import Learner

SAVE_EVERY, REPORT_EVERY = 100, 20
GPU_SCALE = 8


def main() -> None:
    """Train as the command line says."""
    options = _options()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    clips = [clip for path in sorted(options.clips.glob("*.npy")) for clip in load_set(path)]
    model, spoken = load_checkpoint(options.init)
    now = time.time()
    schedule = Schedule(now, now + options.minutes * 60, (options.full_from, options.full_to))
    print(f"{len(clips)} clips, {sum(p.numel() for p in model.parameters()):,} weights, {device}")
    learner = Learner(model.to(device), spoken.to(device), options.lr, options.muon)
    arguments = (learner, clips, schedule, options)
    if device.type == "cuda":
        _work(0, *arguments)
        return
    learner.share_memory()
    start_processes(  # type: ignore[no-untyped-call]
        _work, arguments, nprocs=options.workers, start_method="fork"
    )


def _work(rank: int, learner: Learner, clips: Any, schedule: Schedule, options: Any) -> None:
    """Train until the schedule's end; the first process reports and saves."""
    model, spoken = learner.model, learner.spoken
    seed = options.seed * 100 + rank
    torch.manual_seed(seed), random.seed(seed), np.random.seed(seed)
    device = next(model.parameters()).device
    on_gpu = device.type == "cuda"
    if not on_gpu:
        torch.set_num_threads(1)
    source = Batches(clips, seed, schedule, options.scale or (GPU_SCALE if on_gpu else 1))
    loaders = options.loaders if on_gpu else 0
    context = "fork" if loaders else None  # the clips are not copied
    batches = iter(
        DataLoader(source, batch_size=None, num_workers=loaders, multiprocessing_context=context)
    )
    step = 0
    while (progress := schedule.progress()) < 1:
        warm = min(1.0, (step + 1) / options.warmup)
        losses = learner.learn(
            next(batches), warm * max(0.003, min(1.0, (1 - progress) / options.decay))
        )
        step += 1
        if rank == 0 and step % REPORT_EVERY == 0:
            seconds = time.time() - schedule.start
            print(f"{step} steps {seconds:.0f} s  {learner.rate:.2f}  {losses}", flush=True)
        if rank == 0 and step % SAVE_EVERY == 0:
            save_checkpoint(options.out, model, spoken)
    if rank == 0:
        save_checkpoint(options.out, model, spoken)


def _processors() -> int:
    """Those that this process may use; a quota on their time is not known here."""
    known = hasattr(os, "sched_getaffinity")  # not outside Linux
    return len(os.sched_getaffinity(0)) if known else os.cpu_count() or 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "clips", type=Path, help="a folder of sets made by tools.micro_model.synthesize"
    )
    parser.add_argument("out", type=Path, help="the checkpoint to write")
    parser.add_argument("--init", type=Path, help="the checkpoint to go on from")
    parser.add_argument("--minutes", type=float, default=120)
    parser.add_argument("--lr", type=float, default=8e-4, help="AdamW's highest rate")
    parser.add_argument("--muon", type=float, default=2.7e-3, help="Muon's highest rate")
    parser.add_argument("--warmup", type=int, default=100, help="steps until the highest rate")
    parser.add_argument(
        "--decay", type=float, default=1.0, help="share of the time in which rates fall"
    )
    parser.add_argument(
        "--full-from", type=float, default=0.3, help="share of 30 s windows at first"
    )
    parser.add_argument("--full-to", type=float, default=0.8, help="and at last")
    parser.add_argument("--scale", type=int, help="batches larger by this: 8 on a GPU, else 1")
    parser.add_argument("--workers", type=int, default=_processors(), help="on a CPU")
    parser.add_argument("--loaders", type=int, default=max(1, _processors() - 2), help="on a GPU")
    parser.add_argument("--seed", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()
