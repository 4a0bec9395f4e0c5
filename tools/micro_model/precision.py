"""The type to multiply in: bfloat16 where the machine does it natively, else float32."""

from time import perf_counter

import torch

SIZE, TRIALS = 256, 5


def fastest_type(device: torch.device) -> torch.dtype:
    """Return bfloat16 or float32, whichever multiplies faster; a CPU without bfloat16 is 50 times slower in it."""
    if device.type == "cuda":  # an old GPU would emulate it
        is_native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if is_native else torch.float32
    return min((torch.float32, torch.bfloat16), key=_seconds)


def _seconds(dtype: torch.dtype) -> float:
    """Return the shortest time of a product of two matrices."""
    matrix, times = torch.zeros(SIZE, SIZE, dtype=dtype), list[float]()
    for _ in range(TRIALS):
        start = perf_counter()
        torch.mm(matrix, matrix)
        times.append(perf_counter() - start)
    return min(times)
