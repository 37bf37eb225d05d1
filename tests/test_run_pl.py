"""utils/run.pl: logs, ranges, failures, limits, signals."""

import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest

from deepspeaker.engines.command_line import parse, quoted
from deepspeaker.engines.logs import begin, conclude, described, empty, how_it_ended
from deepspeaker.errors import UserError

ROOT = Path(__file__).resolve().parent.parent
RUN = ROOT / "utils" / "run.pl"
DATE = r"\w{3} \w{3} [ \d]\d \d\d:\d\d:\d\d \S+ \d{4}"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*args):
    return subprocess.run([RUN, *map(str, args)], capture_output=True, text=True)


def test_log_of_one_job():
    done = run("--mem", "4G", "new folder/hello.log", "echo", "hello")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert re.fullmatch(
        f"# echo hello\n# Started at {DATE}\n#\nhello\n# Accounting: time=0 threads=1\n"
        f"# Ended \\(code 0\\) at {DATE}, elapsed time 0 seconds\n",
        Path("new folder/hello.log").read_text(),
    )


def test_perl_runs_it_too():
    assert subprocess.run(["perl", RUN, "a.log", "true"]).returncode == 0


def test_job_numbers_and_options_around_the_range():
    done = run("--num-threads", 2, "JOB=2:4", "--gpu", 1, "log/x.JOB.log", "echo", "JOB-JOB", ">", "out.JOB")
    assert done.returncode == 0, done.stderr
    assert [Path(f"out.{n}").read_text() for n in (2, 3, 4)] == ["2-2\n", "3-3\n", "4-4\n"]
    assert sorted(path.name for path in Path("log").iterdir()) == ["x.2.log", "x.3.log", "x.4.log"]


def test_single_number_and_other_names():
    assert run("SPLIT=7", "x.SPLIT.log", "touch", "made.SPLIT").returncode == 0
    assert Path("made.7").exists() and Path("x.7.log").exists()


def test_blanks_are_quoted_and_operators_work():
    words = ["a  b", 'say "hi" it\'s', ""]
    done = run("a.log", "printf", "%s+", *words, "|", "tr", "a-z", "A-Z", ">", "my file")
    assert done.returncode == 0, done.stderr
    assert Path("my file").read_text() == 'A  B+SAY "HI" IT\'S++'


def test_programs_and_logs_in_folders_with_blanks():
    Path("my jobs").mkdir()
    Path("my jobs/say it").write_text("#!/bin/sh\nprintf '%s,' \"$@\"\n")
    Path("my jobs/say it").chmod(0o755)
    done = run("JOB=1:2", "my jobs/the log/it's 50% JOB.log", "my jobs/say it", "--to", "a file.JOB", "$HOME/a b")
    assert done.returncode == 0, done.stderr
    for number in (1, 2):
        text = Path(f"my jobs/the log/it's 50% {number}.log").read_text()
        assert f"\n--to,a file.{number},{os.environ['HOME']}/a b,# Accounting" in text


def test_a_log_that_is_no_file_stays_what_it_is():
    Path("pipe").symlink_to("/dev/null")
    assert run("pipe", "echo", "hello").returncode == 0
    assert Path("pipe").readlink() == Path("/dev/null") and Path("/dev/null").is_char_device()


def test_help_is_what_its_head_says():
    done = run("--help")
    assert done.returncode == 0 and "run.pl [--max-jobs-run N] [options] [JOB=1:4] LOG command args..." in done.stdout


@pytest.mark.parametrize("options", [
    ["-V", "-l", "mem_free=4G", "-pe", "smp", "2", "-tc", "1"], ["--mem", "4G", "--max-jobs-run", "1", "--gpu", "0"]])
def test_options_of_other_engines_are_accepted(options):
    """With them jobs still run, here one after the other."""
    Path("job.sh").write_text("mkdir alone && sleep 0.05 && rmdir alone")
    done = run(*options, "JOB=1:3", "JOB.log", "bash", "job.sh")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "args, message",
    [
        (["JOB=1:2", "a.log", "true"], "a.log"),
        (["JOB=0:2", "a.JOB.log", "true"], "invalid job range JOB=0:2"),
        (["JOB=3:2", "a.JOB.log", "true"], "invalid job range JOB=3:2"),
        (["--max-jobs-run", "0", "a.log", "true"], "--max-jobs-run 0"),
        (["a.log"], "usage: run.pl"),
        (["--mem"], "--mem needs a value"),
    ],
)
def test_errors_in_the_command_line(args, message):
    done = run(*args)
    assert done.returncode == 1
    assert message in done.stderr
    assert not list(Path().iterdir())


def test_failures_are_counted():
    one = run("d/x.log", "exit", 3)
    assert (one.returncode, one.stderr) == (1, "run.pl: job failed, log is in d/x.log\n")
    assert "\n# Ended (code 3) at " in Path("d/x.log").read_text()
    some = run("JOB=1:4", "d/a.JOB.log", "test", "JOB", "-gt", 2)
    assert (some.returncode, some.stderr) == (1, "run.pl: 2 / 4 failed, log is in d/a.*.log\n")


def test_forgotten_range_is_hinted():
    done = run("x.JOB.log", "false")
    assert done.returncode == 1
    assert "probably you forgot to put JOB=1:$nj" in done.stderr


def test_job_ended_by_a_signal_says_so():
    done = run("a.log", "kill", "-9", "$$")
    assert (done.returncode, done.stderr) == (
        1, "run.pl: a.log: The job was ended by signal 9 (SIGKILL), most likely for lack of memory\n"
           "run.pl: job failed, log is in a.log\n")
    log = Path("a.log").read_text()
    assert re.search(r"signal 9 \(SIGKILL\).*memory.*\n# Accounting.*\n# Ended \(signal 9\) at ", log), log
    run("b.log", "(", "kill", "-TERM", "$BASHPID", ")", ";", "exit", "$?")
    assert "# Ended (signal 15) at " in Path("b.log").read_text()


def test_no_more_than_max_jobs_run_at_once():
    count = "mkdir running.JOB; set -- JOB running.*; echo $(($# - 1)); sleep 0.2; rmdir running.$1"
    Path("job.sh").write_text(count.replace("JOB", "$1"))
    assert run("--max-jobs-run", 2, "JOB=1:5", "JOB.log", "bash", "job.sh", "JOB").returncode == 0
    counts = [int(Path(f"{n}.log").read_text().splitlines()[3]) for n in range(1, 6)]
    assert max(counts) == 2


def test_all_jobs_run_at_once_without_a_limit():
    wait = "touch here.$1; until [ $(ls here.* | wc -l) = 12 ]; do sleep 0.02; done"
    Path("job.sh").write_text(wait)
    assert run("JOB=1:12", "JOB.log", "timeout", "20", "bash", "job.sh", "JOB").returncode == 0


def alive(pid):
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return False


def wait_for(condition):
    until = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.parametrize("number, status", [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_all_that_was_started(number, status):
    """SIGINT is ignored where run.pl starts, as in a background job of a script."""
    stubborn = "( trap '' TERM; echo $BASHPID > inner.$1; sleep 60; sleep 60 )"
    Path("job.sh").write_text(f"echo $$ > pid.$1; {stubborn}\n")
    process = subprocess.Popen(
        [RUN, "JOB=1:2", "JOB.log", "bash", "job.sh", "JOB"],
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN),
    )
    names = ["pid.1", "pid.2", "inner.1", "inner.2"]
    wait_for(lambda: all(Path(name).exists() and Path(name).read_text() for name in names))
    pids = [int(Path(name).read_text()) for name in names]
    assert all(os.getpgid(pid) == os.getpgid(process.pid) for pid in pids)
    process.send_signal(number)
    assert process.wait(timeout=20) == status
    process.stderr.close()
    assert not any(alive(pid) for pid in pids)
    assert "# Ended (signal " in Path("1.log").read_text()


def test_ctrl_c_waits_for_what_outlives_its_shell():
    """A terminal signals all at once: the shell of a job is gone before the program that still writes a checkpoint."""
    program = "trap 'sleep 0.5; touch saved; exit' INT TERM; touch here; while :; do sleep 0.05; done"
    Path("job.sh").write_text(program)
    process = subprocess.Popen(
        [RUN, "a.log", "true", ";", "bash", "job.sh", ";", "true"],
        stderr=subprocess.PIPE,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(Path("here").exists)
    os.killpg(process.pid, signal.SIGTERM)
    assert process.wait(timeout=20) == 143
    process.stderr.close()
    assert Path("saved").exists()


def test_steps_stay_inside_the_line_of_other_engines(data_dir, conf, call):
    """That of a user's own, which knows nothing but [options] [JOB=1:n] LOG command args."""
    train = data_dir(speakers=2, utterances=2, seconds=0.3)
    Path("queue.pl").write_text(
        "#!/bin/bash\nwhile [[ $1 == -* ]]; do shift 2; done\n"
        "[[ $1 =~ ^JOB=1:([0-9]+)$ ]] || exit 1\nnj=${BASH_REMATCH[1]} log=$2; shift 2\nmkdir -p \"${log%/*}\"\n"
        'for n in $(seq $nj); do bash -c "${*//JOB/$n}" >"${log//JOB/$n}" 2>&1 || exit 1; done\n')
    Path("queue.pl").chmod(0o755)
    engine = f"{Path().absolute()}/queue.pl --mem 4G -l gpu=0"
    done = call(ROOT / "steps/make_fbank.sh", "--nj", 2, "--cmd", engine, "--conf", conf(), train)
    assert done.returncode == 0, done.stderr
    assert (train / "feats.scp").read_text().count("\n") == 4 and (train / "log/make_fbank_train.2.log").exists()


def test_unwritable_log_folder_is_an_error():
    Path("file").write_text("")
    done = run("file/x.log", "true")
    assert done.returncode == 1
    assert "file" in done.stderr and "Traceback" not in done.stderr


def test_lines_as_kaldi_writes_them():
    words = ["--mem", "4G", "-V", "-tc", "3", "--max-jobs-run", "2", "JOB=2:4", "-pe", "smp", "2", "x.JOB.log", "echo",
             "a b", "JOB"]
    line = parse(words, "")
    assert line == ([("--mem", "4G"), ("-V",), ("-pe", "smp", "2")], 2, "JOB", range(2, 5), "x.JOB.log",
                    'echo "a b" JOB')
    assert line.job(3) == ('echo "a b" 3', "x.3.log")
    assert parse(["J=7", "x.log", "true"], "").numbers == range(7, 8)
    assert parse(["x.log", "A=1", "b"], "")[1:5] == (None, None, range(1, 2), "x.log")
    for wrong in (["-pe", "smp"], ["-tc", "1.5", "x", "y"], ["-tc", "00", "x", "y"], ["J=1:2", "x.J.log"]):
        with pytest.raises(UserError):
            parse(wrong, "")
    assert [quoted(word) for word in ("a'b", "", "a b", "it's", 'a "b"', "it's \"b\"")] == [
        "a'b", '""', '"a b"', "it's", "'a \"b\"'", "'it'\"'\"'s \"b\"'"]


def test_how_jobs_ended():
    assert described(0) == ("code 0", "") and described(255) == ("code 255", "") and described(128) == ("code 128", "")
    for status in (-9, 137):
        assert described(status)[0] == "signal 9" and "memory" in described(status)[1]
    for status in (-15, 143):
        assert described(status)[0] == "signal 15" and "memory" not in described(status)[1]
    cases = [("code 0", "", ""), ("code 3", "", "code 3"), (*described(-9), described(-9)[1])]
    for ended, why, expected in cases:
        empty("new/a.log")
        assert how_it_ended("new/a.log") is None
        begin("new/a.log", "true")
        Path("new/a.log").write_text(Path("new/a.log").read_text() + "The job was slow\n" * 1000)
        assert how_it_ended("new/a.log") is None
        assert conclude("new/a.log", ended, why, time.time() - 7, "2") == expected == how_it_ended("new/a.log")
        assert "time=7 threads=2" in Path("new/a.log").read_text()
        assert Path("new/a.log").read_text().startswith("# true\n# Started at ")
