#!/usr/bin/env python3
"""Probe steps of apriel-tool and of PyTorch, step by step in turn, so that a clock that moves moves
for both:

  in_turn.py BENCH_PROBE MODEL IDS.jsonl LAYERS [STEPS]

BENCH_PROBE is build/tests/bench_probe, LAYERS like 0,15,29, ascending; STEPS are timed at each layer, after
two untimed ones. 4 rows of 256 tokens; OMP_NUM_THREADS says how many threads both use.
"""
import os
import statistics
import subprocess
import sys

WARMING = 2


class Runner:
    def __init__(self, command, **environment):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        text=True, env={**os.environ, **environment})

    def wait(self, word):
        """The rest of the first line that begins with `word`; None at the end."""
        for line in self.process.stdout:
            if line.startswith(word):
                return line[len(word):].strip()
        return None

    def step(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        seconds = float(self.wait("took"))
        self.wait("ready")  # what it does before the next step must not run beside the other's
        return seconds


def main():
    if len(sys.argv) not in (5, 6):
        sys.exit(__doc__)
    bench, model, ids, layers = sys.argv[1:5]
    steps = int(sys.argv[5]) if len(sys.argv) == 6 else 2
    threads = os.environ.get("OMP_NUM_THREADS", str(os.cpu_count()))
    torch_steps = WARMING + steps - 1  # beside its own first one
    runners = [
        Runner([bench, model, "cpu", "4", "256", str(steps), layers, "turns"],
               OMP_WAIT_POLICY="passive"),
        Runner([sys.executable, os.path.join(os.path.dirname(__file__), "mmr_torch.py"), "time", model, ids,
                "--layers", layers, "--steps", str(torch_steps), "--threads", threads, "--turns"])]
    for runner in runners:
        runner.wait("ready")
    means = ([], [])
    for layer in layers.split(","):
        seconds = ([], [])
        for step in range(WARMING + steps):
            for which in (0, 1) if step % 2 else (1, 0):
                took = runners[which].step()
                if step >= WARMING:
                    seconds[which].append(took)
        for which in (0, 1):
            means[which].append(statistics.mean(seconds[which]))
        ours, theirs = means[0][-1], means[1][-1]
        print(f"layer {layer}: {ours:.3f} s, PyTorch {theirs:.3f} s, {theirs / ours:.2f} times", flush=True)
    ours, theirs = (statistics.mean(values) for values in means)
    print(f"mean: {ours:.3f} s, PyTorch {theirs:.3f} s, {theirs / ours:.2f} times")


main()
