"""The Google Benchmark programs: small blocks (section micro) and large-block churn (section churn)."""
import json
import re

from . import variants as v

PROGRAM = {"micro": "malloc_small", "churn": "malloc_churn"}
NAME = re.compile(r"(?P<row>\w+)/real_time/threads:(?P<threads>\d+)$")


def measure(section, context, record):
    program = f"{context.build}/bench/{PROGRAM[section]}"
    names = v.run([program, "--benchmark_list_tests"], v.Variant("glibc").environ(), timeout=60).stdout.split()
    rows = v.chosen(context.rows, dict.fromkeys(NAME.match(name)["row"] for name in names))
    out = context.work.path / "benchmark.json"
    command = [program, f"--benchmark_min_time={context.settings[section]['min_time']}",
               f"--benchmark_out={out}", "--benchmark_out_format=json",
               "--benchmark_filter=^(" + "|".join(rows) + ")/"]
    for turn in range(context.rounds(section)):
        for variant in v.rotated(context.allocators, turn):
            context.progress(f"{section}: round {turn + 1}, {variant.name}")
            with context.failures():
                v.run(command, variant.environ(), timeout=900)
                result = json.loads(out.read_text(encoding="utf-8"))
                variant.assert_used(result["context"]["allocator"])
                for entry in result["benchmarks"]:
                    name = NAME.match(entry["name"])
                    record(section, variant.name, name["row"], threads=int(name["threads"]), round=turn,
                           ns={"ns": 1, "us": 1e3, "ms": 1e6}[entry["time_unit"]] * entry["real_time"])
