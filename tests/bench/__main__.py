"""`python -m tests.bench [NAME ...]`"""

import sys
from collections.abc import Callable

from tests.bench import cli_start, demo_time, model_step, reader_speed

BENCHMARKS: dict[str, Callable[[], None]] = {
    "cli_start": cli_start.run,
    "reader_speed": reader_speed.run,
    "model_step": model_step.run,
    "demo_time": demo_time.run,
}


def main(names: list[str]) -> int:
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"error: no benchmark {', '.join(unknown)}; there are: {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    for name in names or BENCHMARKS:
        BENCHMARKS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
