"""How long the program takes to answer what needs no model: importing, helping, refusing.

Each command is a process of its own, median of several; `python -c pass` is the floor beside it. On a busy machine read
the processor time, which does not count the waiting. Aimed at: import 0.1 s, help and a refusal 0.5 s.

    python benchmarks/startup.py --repeats 9
"""

import argparse
import json
import resource
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "python_s": (["-c", "pass"], 0),
    "import_s": (["-c", "import legible"], 0),
    "help_s": (["-m", "legible", "--help"], 0),
    "verb_help_s": (["-m", "legible", "read", "--help"], 0),
    "wrong_name_s": (["-m", "legible", "read", "buildin", "text"], 2),
    "wrong_option_s": (["-m", "legible", "read", "builtin", "text", "--no-such-option"], 2),
    "wrong_value_s": (["-m", "legible", "evaluate", "builtin", "--documents", "few"], 2),
    "wrong_file_s": (["-m", "legible", "read", "builtin", "--file", "no-such-file.txt"], 2),
}
"""What is timed, and the exit code that it has to have."""


def seconds(arguments: list[str], code: int) -> tuple[float, float]:
    """Wall time and processor time of one process."""
    begun, used = time.perf_counter(), processor_time()
    done = subprocess.run([sys.executable, *arguments], capture_output=True)
    taken = time.perf_counter() - begun
    assert done.returncode == code, (arguments, done.stderr.decode())
    return taken, processor_time() - used


def processor_time() -> float:
    """Seconds that the processes which have ended took of the processor."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def main() -> None:
    """Time every command, once unmeasured, then `--repeats` times in turn."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=9)
    args = parser.parse_args()
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for turn in range(args.repeats + 1):
        for name, (arguments, code) in COMMANDS.items():
            found = seconds(arguments, code)
            if turn:
                taken[name].append(found)
    walls = {name: round(statistics.median(wall for wall, _ in each), 3) for name, each in taken.items()}
    cpus = {f"cpu_{name}": round(statistics.median(cpu for _, cpu in each), 3) for name, each in taken.items()}
    for name, wall in walls.items():
        print(f"{name:<15} {wall:.3f}, of the processor {cpus[f'cpu_{name}']:.3f}")
    print(json.dumps({**walls, **cpus, "python": sys.version.split()[0], **vars(args)}))


if __name__ == "__main__":
    main()
