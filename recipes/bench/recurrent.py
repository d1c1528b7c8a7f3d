#!/usr/bin/env python3
"""Times the Triton kernels of the recurrences of stock mixers: mamba_ssm's mamba_chunk_scan_combined
and flash-linear-attention's chunk_gated_delta_rule, at the shapes of tests/bench_recurrent.c, which is
to run beside it on the same card:

    BUILD/tests/bench_recurrent cuda; recipes/bench/recurrent.py

They compute what our ops compute: softplus, bias and D inside the scan; the lengths of queries and keys,
sigmoid and gate inside the delta rule. Each is recorded as a CUDA graph, so that no time of Python's
counts; `backward` is the time of both passes less that of the forward pass. Needs PyTorch, Triton,
einops, fla-core and mamba_ssm, of which the Triton files are enough: a folder mamba_ssm with ops/triton,
utils/torch.py, utils/determinism.py and empty __init__.py files.

Their kernels choose among many variants by trying them. `--compile N` compiles all of them first, in N
processes that share Triton's cache, and times nothing. flash-linear-attention refuses its backward pass
on Hopper with Triton 3.4 to 3.7.0, whose code for one kernel gives wrong results: `--unchecked` times it
all the same.
"""
import argparse
import os
import subprocess
import sys

import torch
import triton

SHAPES = [(4, 4096), (1, 32768), (16, 1024)]


def take_part(part, parts):
    """Leaves every autotuned kernel a part of its variants, for --compile."""
    begin = triton.runtime.Autotuner.__init__

    def init(self, *arguments, **named):
        begin(self, *arguments, **named)
        self.configs = self.configs[part::parts] or self.configs[:1]

    triton.runtime.Autotuner.__init__ = init


def try_shortly():
    """Spends less on choosing a variant than Triton would."""
    long = triton.testing.do_bench
    triton.testing.do_bench = lambda call, quantiles=None, **_: long(call, warmup=4, rep=16, quantiles=quantiles)


def draw(*shape):
    return torch.randn(*shape, device="cuda", dtype=torch.bfloat16).requires_grad_()


def parameters(heads):
    return [(0.5 * torch.randn(heads, device="cuda")).requires_grad_() for _ in range(3)]


def mamba2(batch, tokens, chunk, heads=40, width=128, states=128):
    from mamba_ssm.ops.triton.ssd_combined import mamba_chunk_scan_combined

    x, b, c = draw(batch, tokens, heads, width), *(draw(batch, tokens, heads, states) for _ in "bc")
    dt, (bias, a_log, d) = draw(batch, tokens, heads), parameters(heads)

    def run():
        return mamba_chunk_scan_combined(x, dt, -a_log.exp(), b, c, chunk, D=d, dt_bias=bias, dt_softplus=True)

    return run, [x, b, c, dt, bias, a_log, d]


def delta(batch, tokens, heads=32, width=128):
    from fla.ops.gated_delta_rule import chunk_gated_delta_rule

    q, k, v = (draw(batch, tokens, heads, width) for _ in "qkv")
    gate, beta, (bias, a_log, _) = draw(batch, tokens, heads), draw(batch, tokens, heads), parameters(heads)

    def run():
        return chunk_gated_delta_rule(q, k, v, gate, beta, use_qk_l2norm_in_kernel=True, use_gate_in_kernel=True,
                                      use_beta_sigmoid_in_kernel=True, A_log=a_log, dt_bias=bias)[0]

    return run, [q, k, v, gate, beta, bias, a_log]


def milliseconds(work, eager):
    """The best of five batches of at least 20 ms."""
    work()
    torch.cuda.synchronize()
    call = work
    if not eager:
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            work()
        call = graph.replay
    calls, best = 1, float("inf")
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    for _ in range(6):
        start.record()
        for _ in range(calls):
            call()
        end.record()
        torch.cuda.synchronize()
        took = start.elapsed_time(end)
        best, calls = min(best, took / calls), max(calls, int(20 * calls / took) + 1)
    return best


def measure(name, make, arguments, eager):
    run, inputs = make(*arguments)
    gradient = torch.randn_like(run())
    both = lambda: torch.autograd.grad(run(), inputs, gradient)
    side = torch.cuda.Stream()  # what is recorded must not have been tried on the default stream alone
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        both()
    torch.cuda.current_stream().wait_stream(side)
    forward, whole = milliseconds(run, eager), milliseconds(both, eager)
    print(f"{name:44} {forward:10.4f} {whole - forward:10.4f}", flush=True)


def try_one(name, make, arguments, eager):
    try:
        measure(name, make, arguments, eager)
    except Exception as error:  # one kernel's trouble is no reason to lose the other's times
        print(f"{name}: {type(error).__name__}: {str(error)[:300]}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--compile", type=int, default=0)
    parser.add_argument("--part", type=int, nargs=2)
    parser.add_argument("--eager", action="store_true")
    parser.add_argument("--shapes", type=int, default=len(SHAPES))
    parser.add_argument("--chunks", type=int, nargs="*", default=[128, 256])
    parser.add_argument("--unchecked", action="store_true")
    options = parser.parse_args()
    if options.compile:
        rest = ["--chunks", *map(str, options.chunks)] + ["--unchecked"] * options.unchecked
        workers = [subprocess.Popen([sys.executable, __file__, "--part", str(i), str(options.compile), *rest])
                   for i in range(options.compile)]
        sys.exit(max(worker.wait() for worker in workers))
    if options.part:
        take_part(*options.part)
    try_shortly()
    if options.unchecked:
        import fla.ops.common.chunk_o
        fla.ops.common.chunk_o.TRITON_ABOVE_3_7_1 = True
    torch.manual_seed(0)
    print(f"{'op':44} {'forward ms':>10} {'backward':>10}")
    # variants depend on whether a number is 1 or a multiple of 16
    for batch, tokens in [(4, 2048), (1, 8192)] if options.part else SHAPES[:options.shapes]:
        for chunk in options.chunks:
            try_one(f"mamba_chunk_scan_combined({chunk}), {batch} x {tokens}", mamba2, (batch, tokens, chunk),
                    options.eager or options.part)
        try_one(f"chunk_gated_delta_rule, {batch} x {tokens}", delta, (batch, tokens),
                options.eager or options.part)


if __name__ == "__main__":
    main()
