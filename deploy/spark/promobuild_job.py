"""Build a generation on a Spark cluster.

    spark-submit --files bin/promobuild promobuild_job.py \\
        --promobuild bin/promobuild --shards 16 --work s3://bucket/work \\
        --out s3://bucket/promotions 's3://exports/part-*.csv.gz'

The driver runs "promobuild plan", then one Spark task for each split, then
one for each shard, then "promobuild publish". No row passes through Spark.
Spark repeats a task that exits with 1 or is killed. Any other error ends the
job at once, because another attempt would fail in the same way.

Without --files, FILE of --promobuild is a path on the image. Flags that are
not listed here are those of promobuild plan.
"""
import argparse
import collections
import ctypes
import json
import os
import random
import signal
import subprocess
import sys
import threading

from pyspark import AccumulatorParam, SparkContext, SparkFiles

FAILED = 1  # the exit code if another attempt may succeed
PUBLISH_ATTEMPTS = 4  # as many as Spark makes of a task
PR_SET_PDEATHSIG = 1
KEYS = "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"


def start(command, **options):
    """Starts a process that the kernel kills when this process ends."""
    parent, libc = os.getpid(), ctypes.CDLL(None)

    def follow():
        libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(FAILED)

    return subprocess.Popen(command, stdin=subprocess.DEVNULL,
                            encoding="utf-8", preexec_fn=follow, **options)


def environment(aws):
    """Returns the environment of a task: that of the executor, and those of
    the driver's variables aws that it lacks. It does not mix two keys."""
    if KEYS[0] in os.environ:
        aws = {name: aws[name] for name in aws if name not in KEYS}
    # Spark removes these directories after the job.
    disk = random.choice(os.environ["SPARK_LOCAL_DIRS"].split(","))
    return {**aws, "TMPDIR": disk, **os.environ}


def execute(command, aws):
    """Runs a command in a task. Returns the exit code and the messages."""
    shipped = SparkFiles.get(os.path.basename(command[0]))
    if os.path.exists(shipped):
        command = [shipped] + command[1:]
    print(" ".join(command), file=sys.stderr, flush=True)
    messages = collections.deque(maxlen=40)
    with start(command, env=environment(aws), stdout=2,
               stderr=subprocess.PIPE, errors="replace") as process:
        for line in process.stderr:
            print(line, end="", file=sys.stderr, flush=True)
            messages.append(line)
    return process.returncode, "".join(messages)


class Errors(AccumulatorParam):
    """Exit codes and messages of tasks that must not be repeated, by index."""

    def zero(self, value):
        return {}

    def addInPlace(self, errors, more):
        errors.update(more)
        return errors


def run_tasks(sc, command, count):
    """Runs a command with each index below count. Returns its Errors."""
    name = command[1]
    errors = sc.accumulator({}, Errors())
    aws = {k: v for k, v in os.environ.items() if k.startswith("AWS_")}

    def task(index):
        code, messages = execute(command + ["--index", str(index)], aws)
        if code > FAILED:
            errors.add({index: (code, messages)})
        elif code != 0:
            cause = f"exit code {code}" if code > 0 else f"signal {-code}"
            raise RuntimeError(
                f"promobuild {name} --index {index}: {cause}\n{messages}")

    def watch():
        while not done.wait(0.2):
            if errors.value:
                sc.cancelJobGroup(name)
                return

    done = threading.Event()
    watcher = threading.Thread(target=watch)
    sc.setJobGroup(name, f"promobuild {name}", interruptOnCancel=True)
    watcher.start()
    try:
        sc.parallelize(range(count), count).foreach(task)
    except Exception:
        if not errors.value:
            raise
    finally:
        done.set()
        watcher.join()
    return errors.value


def build(sc, args, plan_flags):
    """Builds a generation. Returns the exit code and messages of tasks."""

    def flags(*names):
        return [text for n in names if args[n] for text in ("--" + n, args[n])]

    program, store = args["promobuild"], flags("s3-endpoint", "s3-region")
    with start([program, "plan", "--json"] + store + plan_flags,
               stdout=subprocess.PIPE) as process:
        output = process.stdout.read()
    print(output, end="", flush=True)
    if process.returncode != 0 or "--dry-run" in plan_flags:
        return process.returncode, ""

    plan = json.loads(output)
    of_plan = ["--plan", plan["plan"]] + store
    args["workers"] = args["workers"] or sc.getConf().get("spark.task.cpus", "1")
    of_task = of_plan + flags("memory", "workers", "temp-dir")
    for name, count in ("split", plan["splits"]), ("merge", plan["shards"]):
        errors = run_tasks(sc, [program, name] + of_task, count)
        if errors:
            return max(code for code, _ in errors.values()), "".join(
                f"promobuild {name} --index {index}: exit code {code}\n{text}"
                for index, (code, text) in sorted(errors.items()))

    for _ in range(PUBLISH_ATTEMPTS):
        code = start([program, "publish"] + of_plan + flags("keep")).wait()
        if code != FAILED:
            break
    return code, ""


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, allow_abbrev=False,
        formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, metavar, text in (
            ("promobuild", "FILE", "run FILE (default: that in PATH)"),
            ("memory", "SIZE", "memory of each task"),
            ("workers", "N", "processors of each task (default: spark.task.cpus)"),
            ("temp-dir", "DIR", "temporary files of tasks"
             " (default: local directories of Spark)"),
            ("keep", "N", "keep the newest N generations"),
            ("s3-endpoint", "URL", "access s3:// URLs at URL"),
            ("s3-region", "NAME", "sign requests for the region NAME")):
        parser.add_argument("--" + name, dest=name, metavar=metavar, help=text)
    parser.set_defaults(promobuild="promobuild")
    args, plan_flags = parser.parse_known_args()
    with SparkContext(appName="promobuild") as sc:
        code, messages = build(sc, vars(args), plan_flags)
    sys.stderr.write(messages)
    return code


if __name__ == "__main__":
    sys.exit(main())
