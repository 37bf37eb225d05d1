#!/usr/bin/env python3
"""Run a command, or numbered copies of it at once, on this machine, each with its log.

    run.pl [--max-jobs-run N] [options] [JOB=1:4] LOG command args...

JOB in LOG and in the command becomes each number of the range. Arguments with blanks are quoted, the others
go to bash as they are, so that an escaped | or > works. Any other leading option takes one value, which is
ignored: the same line can be given to queue.pl or slurm.pl. All jobs run at once unless --max-jobs-run says
less. Exit status 1 if a job failed. On SIGINT or SIGTERM all that the jobs started is ended first, then
run.pl (status 130 or 143).
"""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

GRACE = 5.0  # seconds between SIGTERM and SIGKILL: enough to remove a temporary file


class Interrupted(Exception):
    """SIGINT or SIGTERM came; the argument is its number."""


def fail(message):
    sys.exit(f"run.pl: {message}")


def interrupt(number, _frame):
    raise Interrupted(number)


def parse(args):
    """(at most so many jobs at once, name of the job variable or None, numbers, log, command's arguments)."""
    limit, name, numbers = None, None, range(1, 2)
    args = list(args)
    while args:
        if args[0].startswith("-"):
            option = args.pop(0)
            if option == "-V":
                continue
            values = [args.pop(0) for _ in range(2 if option == "-pe" else 1) if args]
            if not values:
                fail(f"option {option} needs a value")
            if option in ("--max-jobs-run", "-tc"):
                if not re.fullmatch("0*[1-9][0-9]*", values[0]):
                    fail(f"invalid option {option} {values[0]}: expected a number above 0")
                limit = min(int(values[0]), limit or int(values[0]))
        elif name is None and (found := re.fullmatch(r"([A-Za-z_]\w*)=(\d+)(?::(\d+))?", args[0])):
            name, first, last = found[1], int(found[2]), int(found[3] or found[2])
            if not 0 < first <= last:
                fail(f"invalid job range {args[0]}: expected {name}=FIRST:LAST with 1 <= FIRST <= LAST")
            numbers = range(first, last + 1)
            args.pop(0)
        else:
            break
    if len(args) < 2:
        fail("usage: run.pl [options] [JOB=1:n] log-file command-line arguments...")
    log = args[0]
    if name and name not in log and len(numbers) > 1:
        fail(f"{len(numbers)} jobs would write one log file ({log}): put {name} into its name")
    return limit or len(numbers), name, numbers, log, args[1:]


def quoted(argument):
    """The argument for bash: as it is; with blanks, in double quotes (in single ones if it has double)."""
    if argument and not re.search(r"\s", argument):
        return argument
    if '"' not in argument:
        return f'"{argument}"'
    return "'" + argument.replace("'", "'\"'\"'") + "'"


def date():
    return time.strftime("%a %b %e %H:%M:%S %Z %Y")


def start(command, log):
    """Start the command with its log begun: (process, log, time of the start)."""
    path = Path(log)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(os.fsencode(f"# {command}\n# Started at {date()}\n#\n"))
    with path.open("ab") as file:  # appending: the footer and a job's own `>>` to its log mix safely
        process = subprocess.Popen(
            ["bash", "-c", f"( {command}\n)"], stdin=subprocess.DEVNULL, stdout=file, stderr=file
        )
    return process, log, time.time()


def signal_name(number):
    return next((s.name for s in signal.Signals if s == number), None)


def finish(status, log, started):
    """Write the log's last lines. True if the job failed."""
    killer = -status if status < 0 else status - 128  # bash says 128 + n for a command ended by signal n
    ended = f"code {status}"
    notes = ""
    if signal_name(killer):
        ended = f"signal {killer}"
        cause = ", most likely for lack of memory" if killer == signal.SIGKILL else ""
        notes = f"# The job was ended by signal {killer} ({signal_name(killer)}){cause}\n"
    seconds = round(time.time() - started)
    with Path(log).open("a") as file:
        file.write(
            f"{notes}# Accounting: time={seconds} threads=1\n"
            f"# Ended ({ended}) at {date()}, elapsed time {seconds} seconds\n"
        )
    return status != 0


def descendants():
    """Processes below this one, by /proc. A dead one's children belong to others, so ask before killing."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
        except OSError:
            continue  # it has ended meanwhile
        if state != "Z":
            children.setdefault(int(parent), []).append(int(stat.parent.name))
    found, ahead = [], [os.getpid()]
    while ahead:
        below = children.get(ahead.pop(), [])
        found += below
        ahead += below
    return found


def send(pids, number):
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text(errors="replace")
    except OSError:
        return False


def end_all():
    """SIGTERM to all that the jobs started, SIGKILL to what is left after GRACE seconds."""
    pids = set(descendants())
    send(pids, signal.SIGTERM)
    until = time.monotonic() + GRACE
    while time.monotonic() < until and any(map(alive, pids)):
        time.sleep(0.05)
        pids.update(descendants())
    send([pid for pid in pids | set(descendants()) if alive(pid)], signal.SIGKILL)


def run_jobs(jobs, limit, running):
    """Run (command, log) pairs, `limit` at once: how many failed. `running` holds process id -> job."""
    failed = 0
    waiting = iter(jobs)
    left = len(jobs)
    while left:
        while len(running) < limit and (job := next(waiting, None)):
            process, log, started = start(*job)
            running[process.pid] = (process, log, started)
        pid, status = os.wait()
        if pid in running:
            process, log, started = running.pop(pid)
            process.returncode = os.waitstatus_to_exitcode(status)
            failed += finish(process.returncode, log, started)
            left -= 1
    return failed


def main():
    for number in (signal.SIGINT, signal.SIGTERM):  # SIGINT is ignored in background jobs of a script
        signal.signal(number, interrupt)
    running = {}
    try:
        limit, name, numbers, log, arguments = parse(sys.argv[1:])
        command = " ".join(map(quoted, arguments))
        jobs = [(command, log)]
        if name:
            jobs = [tuple(text.replace(name, str(n)) for text in (command, log)) for n in numbers]
        failed = run_jobs(jobs, limit, running)
    except Interrupted as interrupted:
        number = interrupted.args[0]
        for other in (signal.SIGINT, signal.SIGTERM):
            signal.signal(other, signal.SIG_IGN)
        end_all()
        for process, log, started in running.values():
            finish(process.wait(), log, started)
        print(f"run.pl: ended by {signal_name(number)}, and its jobs with it", file=sys.stderr)
        sys.exit(128 + number)
    except OSError as error:
        end_all()
        fail(error)
    if not failed:
        return
    if len(jobs) == 1:
        log = jobs[0][1]
        print(f"run.pl: job failed, log is in {log}", file=sys.stderr)
        if "JOB" in log:
            print("run.pl: probably you forgot to put JOB=1:$nj in your script.", file=sys.stderr)
    else:
        star = log.replace(name, "*")
        print(f"run.pl: {failed} / {len(jobs)} failed, log is in {star}", file=sys.stderr)
    sys.exit(1)


main()
