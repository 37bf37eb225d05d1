"""utils/slurm.pl against a real Slurm of two nodes, which runs on this machine as long as these tests do."""

import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
from conftest import ROOT, environment, hear_interrupts, same, tiny_conf, train_command, weights
from conftest import finish as finish_command
from slurm_cluster import ask, missing, started_cluster, wait_for
from test_recipe import TINY_CORPUS, recipe, rows
from test_run_pl import DATE

from deepspeaker.checkpoint import load
from deepspeaker.engines.command_line import parse
from deepspeaker.engines.slurm import Array
from deepspeaker.engines.slurm_conf import read_conf
from deepspeaker.errors import UserError

SLURM = ROOT / "utils/slurm.pl"
SHIPPED = ROOT / "egs/voxceleb/conf/slurm.conf"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    if name := missing():
        pytest.skip(f"Slurm is not installed (no {name}): apt-get install slurm-wlm munge")
    if os.geteuid():
        pytest.skip("Slurm's daemons are started as root here")
    with pytest.MonkeyPatch.context() as patch:
        at = tmp_path_factory.mktemp("slurm")
        patch.setenv("SLURM_CONF", f"{at}/slurm.conf")
        patch.setenv("PATH", f"{Path(environment()['PYTHON']).parent}:{os.environ['PATH']}")
        with started_cluster(at) as made:
            yield made


@pytest.fixture
def folder(cluster, tmp_path, monkeypatch):
    at = tmp_path / "100% my jobs"
    at.mkdir()
    monkeypatch.chdir(at)
    return at


def run(*args: object) -> subprocess.CompletedProcess:
    return subprocess.run([SLURM, *map(str, args)], capture_output=True, text=True, timeout=100)


def started(*args: object) -> subprocess.Popen:
    return subprocess.Popen([SLURM, *map(str, args)], stderr=subprocess.PIPE, text=True, preexec_fn=hear_interrupts)


def array_of(name: str) -> str:
    """The number of the array that is in the queue under this name."""
    wait_for(lambda: ask("squeue", "--noheader", f"--name={name}"))
    return ask("squeue", "--noheader", f"--name={name}", "--format=%A").splitlines()[0]


def both_run() -> None:
    """Until jobs 1 and 2 have begun; Slurm may overlook a process that is only just being started."""
    wait_for(lambda: Path("here.1").exists() and Path("here.2").exists())
    time.sleep(0.5)


def log(name: str) -> str:
    return Path(name).read_text()


def test_a_failing_job_is_named_and_the_others_finish(folder):
    done = run("--mem", "100M", "--num-threads", 2, "--time", "10:00", "JOB=2:5", "new folder/x.JOB.log",
               "echo", "JOB-JOB", ";", "test", "JOB", "-ne", 3)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == ("slurm.pl: job 3 failed, log is in new folder/x.3.log: code 1\n"
                           "slurm.pl: 1 / 4 failed, log is in new folder/x.*.log\n")
    assert sorted(path.name for path in Path("new folder").iterdir()) == [f"x.{n}.log" for n in range(2, 6)]
    for number in range(2, 6):
        assert re.fullmatch(
            f"# echo {number}-{number} ; test {number} -ne 3\n# Started at {DATE}\n#\n{number}-{number}\n"
            f"# Accounting: time=\\d threads=2\n"
            f"# Ended \\(code {int(number == 3)}\\) at {DATE}, elapsed time \\d seconds\n",
            log(f"new folder/x.{number}.log"))


def test_one_job_and_its_gpus(folder):
    done = run("--gpu", 2, "one.log", "scontrol", "show", "job", "$SLURM_JOB_ID", ";", "exit", 4)
    assert (done.returncode, done.stderr) == (1, "slurm.pl: job failed, log is in one.log\n")
    assert "gres:gpu:2" in log("one.log") and "# Ended (code 4)" in log("one.log")
    done = run("JOB.log", "scontrol", "show", "job", "$SLURM_JOB_ID", "|", "grep", "gres:gpu")
    assert done.returncode == 1 and "probably you forgot to put JOB=1:$nj" in done.stderr


def test_blanks_are_quoted_and_operators_work(folder):
    words = ["a  b", 'say "hi" it\'s', "", "50% JOB"]
    done = run("JOB=1:2", "a b/50% JOB's.log", "printf", "%s+", *words, "|", "tr", "a-z", "A-Z", ">", "my file JOB")
    assert done.returncode == 0, done.stderr
    for number in (1, 2):
        assert log(f"my file {number}") == f'A  B+SAY "HI" IT\'S++50% {number}+'
        assert "# Ended (code 0)" in log(f"a b/50% {number}'s.log")


def test_no_more_than_max_jobs_run_at_once(folder):
    Path("job.sh").write_text("mkdir running.$1; ls -d running.* | wc -l; sleep 0.5; rmdir running.$1")
    assert run("--max-jobs-run", 2, "JOB=1:4", "JOB.log", "bash", "job.sh", "JOB").returncode == 0
    assert max(int(log(f"{n}.log").splitlines()[3]) for n in range(1, 5)) == 2


def test_sigkill_is_named_with_its_likely_cause(folder):
    """Of a process of the job, as the kernel does it; of all that the job is, as Slurm does it."""
    Path("job.sh").write_text('if [ $1 = 1 ]; then kill -9 $$; else kill -9 $(ps -o ppid= $PPID) $PPID $$; fi\n')
    done = run("JOB=1:2", "JOB.log", "bash", "job.sh", "JOB", ";", "exit", "$?")
    assert done.returncode == 1 and "2 / 2 failed" in done.stderr
    for number in (1, 2):
        assert re.search(r"# The job was ended by signal 9 \(SIGKILL\), most likely for lack of memory\n"
                         r"# Accounting: .*\n# Ended \(signal 9\) at ", log(f"{number}.log")), log(f"{number}.log")
        assert f"job {number} failed, log is in {number}.log: The job was ended by signal 9 (SIGKILL)" in done.stderr


def test_jobs_cancelled_by_others_are_noticed(folder):
    """One that runs and one that waits."""
    Path("job.sh").write_text("touch here.$1\nif [ $1 -gt 1 ]; then exec sleep 60; fi\n"
                              "until [ -e go.1 ]; do sleep 0.1; done")
    process = started("--max-jobs-run", 2, "JOB=1:3", "other.JOB.log", "bash", "job.sh", "JOB")
    array = array_of("other")
    both_run()
    subprocess.run(["scancel", f"{array}_3", f"{array}_2"], check=True)
    Path("go.1").touch()
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and "2 / 3 failed" in err and "job 1 " not in err
    assert "CANCELLED AT" in log("other.2.log") and "# Ended (signal 15)" in log("other.2.log")
    assert "# The job was ended by Slurm: CANCELLED\n" in log("other.3.log")
    assert log("other.3.log").startswith("# bash job.sh 3\n") and "# Ended (CANCELLED) at " in log("other.3.log")


@pytest.mark.parametrize("number, status", [
    (signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)])
def test_a_signal_cancels_all_jobs(folder, number, status):
    """They are over when slurm.pl is: one that writes a checkpoint has written it."""
    Path("job.sh").write_text("trap 'sleep 0.5; touch saved.$1; exit 1' TERM; touch here.$1; sleep 60 & wait")
    process = started("--max-jobs-run", 2, "JOB=1:3", "mine.JOB.log", "bash", "job.sh", "JOB")
    both_run()
    process.send_signal(number)
    _, err = process.communicate(timeout=60)
    assert (process.returncode, err) == (status, f"slurm.pl: ended by {number.name}, and its jobs with it\n")
    assert not ask("squeue", "--noheader", "--name=mine")
    assert sorted(path.name for path in Path().glob("saved.*")) == ["saved.1", "saved.2"]
    assert all("# Ended (" in log(f"mine.{n}.log") for n in (1, 2, 3))
    assert not list(Path().glob(".slurm.*"))


@pytest.mark.long
def test_the_death_of_a_node(folder):
    """A job that may run again is waited for, one that may not has failed."""
    job = "echo >>on.$1; [ -n \"$SLURM_RESTART_COUNT\" ] || sleep 60"
    Path("job.sh").write_text(job)
    Path("once.conf").write_text(SHIPPED.read_text().replace("--requeue", "--no-requeue"))
    again = started("-w", "b", "again.log", "bash", "job.sh", "again")
    once = started("--config", "once.conf", "-w", "b", "once.log", "bash", "job.sh", "once")
    wait_for(lambda: Path("on.again").exists() and Path("on.once").exists())
    subprocess.run(["scontrol", "update", "nodename=b", "state=down", "reason=test"], check=True)
    _, err = once.communicate(timeout=60)
    assert once.returncode == 1 and "NODE_FAIL" in err, err
    subprocess.run(["scontrol", "update", "nodename=b", "state=resume"])  # it may be back already
    _, err = again.communicate(timeout=60)
    assert again.returncode == 0, err
    assert log("on.again") == "\n\n" and log("again.log").count("# Started at ") == 2


@pytest.mark.long
def test_jobs_of_a_slurm_pl_that_was_killed_are_ended_first(folder):
    Path("job.sh").write_text("mkdir alone || exit 1; touch here.$1; trap 'sleep 1; rmdir alone; exit' TERM\n"
                              "sleep $1 & wait; rmdir alone")
    process = started("[a] b.JOB.log", "bash", "job.sh", 60)
    wait_for(Path("here.60").exists)
    process.kill()
    process.communicate()
    done = run("[a] b.JOB.log", "bash", "job.sh", 0)
    assert done.returncode == 0 and re.fullmatch(
        r"slurm.pl: job \d+, whose slurm.pl was killed, is cancelled first\n", done.stderr), done.stderr
    assert not list(Path().glob(".slurm.*"))


def test_machines_that_do_not_see_the_folder(folder, monkeypatch):
    monkeypatch.setattr("deepspeaker.engines.slurm.JOB", "/nowhere/slurm_job.py")
    array = Array(parse(["x.log", "true"], ""), "1")
    array.submit(["sbatch"])
    array.wait()
    assert "FAILED (NonZeroExitCode) before it could begin: do all machines see this folder?" in array.failed[1]
    assert "/nowhere/slurm_job.py" in log("x.log")


@pytest.mark.long
def test_slurm_is_away_for_a_while(folder, cluster):
    process = started("away.log", "sleep", 2, ";", "exit", 3)
    array_of("away")
    cluster.stop("slurmctld")
    time.sleep(2)
    cluster.start("slurmctld", "-D")
    _, err = process.communicate(timeout=60)
    assert process.returncode == 1 and err.splitlines()[-1] == "slurm.pl: job failed, log is in away.log"
    assert "# Ended (code 3)" in log("away.log")


def test_a_job_that_slurm_has_forgotten_is_not_waited_for(folder, monkeypatch, capsys):
    monkeypatch.setattr("deepspeaker.engines.slurm.PATIENCE", 0.5)
    array = Array(parse(["JOB=1:4", "x.JOB.log", "true"], ""), "1")
    array.submit(["sbatch", "--hold"])
    subprocess.run(["scancel", array.id], check=True)
    array.id = "9999999"
    (array.folder / "2").touch()
    for number in (1, 2, 3, 4):
        assert log(f"x.{number}.log") == ""
    for number, code in ((3, 7), (4, 0)):
        Path(f"x.{number}.log").write_text(f"# true\n# Accounting: time=0 threads=1\n# Ended (code {code}) at a time\n")
    array.wait()
    assert array.failed == {1: "The job is no longer known to Slurm, and its log does not say how it ended",
                            3: "code 7"}
    assert "# Ended (lost) at " in log("x.1.log") and not log("x.2.log")


def test_inside_a_job(folder):
    """run.sh itself may be a job: what Slurm told it is not handed on."""
    done = run("--mem", "50M", "outer.log", SLURM, "--num-threads", 2, "inner.log",
               "srun", "echo", "\\$SLURM_CPUS_PER_TASK,\\$SLURM_MEM_PER_NODE")
    assert done.returncode == 0, log("outer.log")
    assert "\n2,\n" in log("inner.log")


@pytest.mark.parametrize("options, message", [
    (["--ram", "4G"], "conf/slurm.conf does not say what --ram 4G means to sbatch; it knows: --gpu --mem --nodes"),
    (["--mem", "100T"], "slurm.pl: sbatch refused the jobs"),
    (["--config", "/nowhere"], "/nowhere"),
    (["-pe", "smp", "4"], "unknown option -pe"),
    (["--mem"], "option --mem needs a value")])
def test_errors_in_the_options(folder, options, message):
    done = run(*options, *(["x.log", "true"] if len(options) > 1 else []))
    assert done.returncode == 1 and message in done.stderr and "Traceback" not in done.stderr
    assert not list(folder.glob(".slurm.*"))


def test_conf_of_kaldi(tmp_path):
    path = tmp_path / "slurm.conf"
    path.write_text("# a comment\ncommand sbatch --export=PATH --ntasks-per-node=1\n\noption mem=* --mem-per-cpu $0\n"
                    "option mem=0  # all\noption num_threads=* --cpus-per-task $0\ndefault gpu=0\n"
                    "option gpu=0 -p shared\noption gpu=* -p gpu --gres=gpu:$0 --comment 'two words'\n")
    conf = read_conf(path)
    head = ["sbatch", "--export=PATH", "--ntasks-per-node=1"]
    assert conf.sbatch({}) == [*head, "-p", "shared"]
    assert conf.sbatch({"mem": "0", "gpu": "3"}) == [*head, "-p", "gpu", "--gres=gpu:3", "--comment", "two words"]
    assert conf.sbatch({"mem": "4G"}) == [*head, "-p", "shared", "--mem-per-cpu", "4G"]
    for content, message in (("comand x\n", ":1: expected 'command"), ("", "no line 'command"),
                             ("command sbatch\noption mem\n", ":2: expected"), ("default gpu=0 1\n", ":1: expected")):
        path.write_text(content)
        with pytest.raises(UserError, match=message):
            read_conf(path)


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """A folder with programs of Slurm's names: they tell what stands in files, and end the jobs 4, 5 and 6."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    for name, values in (("LOOK", 0.01), ("ASK", (0.0, 0.0)), ("PATIENCE", 0.05)):
        monkeypatch.setattr(f"deepspeaker.engines.slurm.{name}", values)
    for name, text in (("sbatch", 'env >seen; printf "%s\\n" "$@" >words; cat >script\n[ ! -e refuse ] && '
                        'echo "77;cluster"'),
                       ("squeue", "cat queue; [ -e asked ] && cd .slurm.* && touch 4 5 6; touch asked"),
                       ("scontrol", 'echo " ExitCode=0:$([ $3 = 77_11 ] && echo 9 || echo 0) "')):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f"#!/bin/sh\n{text}\n")
        program.chmod(0o755)
    return tmp_path


def test_what_slurm_is_told(pretended, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "1")
    monkeypatch.setenv("SLURM_CONF", "/mine.conf")
    array = Array(parse(["-tc", "2", "JOB=3:5", "50% x.JOB.log", "echo", "JOB"], ""), "1")
    array.submit(["sbatch", "--mem=1"])
    assert array.id == "77" and array.waiting == {3, 4, 5} and (array.folder / "job").read_text() == "77"
    assert Path("words").read_text().splitlines() == [
        "--mem=1", "--parsable", "--job-name=50% x", "--array=3-5%2", "--open-mode=append", "--output=50%% x.%a.log"]
    assert Path("script").read_text().startswith("#!/bin/sh\nexec ") and "'echo JOB'" in Path("script").read_text()
    assert [path.read_text() for path in sorted(Path().glob("*.log"))] == [""] * 3
    seen = Path("seen").read_text()
    assert "SLURM_CONF=/mine.conf\n" in seen and "SLURM_JOB_ID" not in seen and "PATH=" in seen
    monkeypatch.delenv("SLURM_JOB_ID")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    Path("refuse").touch()
    array = Array(parse(["x.log", "true"], ""), "1")
    with pytest.raises(UserError, match="refused the jobs"):
        array.submit(["sbatch"])
    assert array.id == "" and "SLURM_TIME_FORMAT=relative" in Path("seen").read_text()
    with pytest.raises(UserError, match="no nix on this machine"):
        array.submit(["nix"])


def test_how_slurm_says_that_jobs_ended(pretended, capsys):
    array = Array(parse(["JOB=1:12", "x.JOB.log", "true"], ""), "2")
    array.submit(["sbatch"])
    for number, code in ((8, "3"), (9, "0"), (10, "0")):
        Path(f"x.{number}.log").write_text(f"# true\n# Accounting: time=0 threads=2\n# Ended (code {code}) at a time\n")
    Path("x.11.log").write_text("# true\n")
    Path("queue").write_text(
        "1|COMPLETED|None\n2|OUT_OF_MEMORY|OutOfMemory\n3|TIMEOUT|TimeLimit\n4|PENDING|Resources\n"
        "5|PENDING|AssocGrpCpuLimit\n6|RUNNING|None\n7|CANCELLED|None\n8|FAILED|NonZeroExitCode\n9|TIMEOUT|TimeLimit\n"
        "10|FAILED|NonZeroExitCode\n11|FAILED|RaisedSignal:9(Killed)\n")
    array.wait()
    assert array.failed.keys() == {2, 3, 7, 8, 9, 11, 12} and array.waiting == set()
    assert "signal 9" in array.failed[2] and "signal 9" in array.failed[11] and array.failed[8] == "code 3"
    assert array.failed[3].endswith("TIMEOUT (TimeLimit)") and array.failed[7].endswith("CANCELLED")
    assert array.failed[9] == "code 0 (Slurm: TIMEOUT)" and "no longer known" in array.failed[12]
    assert log("x.11.log").count("# true\n") == 1 and "threads=2" in log("x.3.log") and log("x.1.log") == ""
    said = capsys.readouterr().err
    assert said.count("waits: AssocGrpCpuLimit") == 1 and "Resources" not in said and said.count(" failed, log") == 7


def slurm_recipe(*options: object) -> list[str]:
    return ["--conf", "tiny.toml", "--dir", "out", "--gpus", "0", "--train-cmd", "slurm.pl --mem 500M",
            "--cuda-cmd", "slurm.pl --mem 500M", *map(str, options)]


@pytest.mark.long
def test_the_whole_recipe(folder):
    tiny_conf(Path("tiny.toml"), {"augment.copies": []})
    done = recipe("--corpus-opts", TINY_CORPUS, "--nj", 2, *slurm_recipe(), cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [row["phase"] for row in rows(Path("out/exp/tiny/results.tsv"))] == ["untrained", "softmax", "triplet"]
    for phase in ("softmax", "triplet"):
        assert log(f"out/exp/tiny/{phase}/train.log") in done.stdout and f"{phase} epoch 2/2" in done.stdout
    jobs = ask("squeue", "--noheader", "--array", "--states=all", "--format=%j %T").splitlines()
    assert jobs.count("train COMPLETED") == 2
    assert jobs.count("make_fbank_train COMPLETED") == 2 and jobs.count("extract_embeddings COMPLETED") == 12
    assert not list(Path("out").rglob(".slurm.*"))


@pytest.mark.long
def test_requeued_training_ends_with_the_same_parameters(folder, ready):
    conf, train, dev = ready({"softmax.steps_per_epoch": 60, "training.checkpoint_minutes": 0.0005})
    assert finish_command(train_command(conf, train, dev, folder / "whole")).returncode == 0
    process = started("train.log", *train_command(conf, train, dev, folder / "requeued"))
    wait_for(lambda: list(folder.glob("requeued/step-*.pt")))
    subprocess.run(["scontrol", "requeue", array_of("train")], check=True)
    _, err = process.communicate(timeout=100)
    assert (process.returncode, err) == (0, "")
    lines = log("requeued/train.log")
    assert "stopped at step" in lines and "resuming from" in lines and log("train.log").count("# Started at ") == 2
    assert same(weights(folder / "whole/final.pt"), weights(folder / "requeued/final.pt"))
    last = sorted(path.name for path in (folder / "whole").glob("step-*.pt"))[-1]
    a, b = (load(folder / name / last) for name in ("whole", "requeued"))
    assert same(a["model"], b["model"]) and same(a["loss"], b["loss"])


@pytest.mark.long
def test_training_on_two_machines_by_srun(folder, ready):
    conf, train, dev = ready({"augment.copies": []})
    data = Path("out/data")
    data.mkdir(parents=True)
    (data / "train").symlink_to(train)
    (data / "dev").symlink_to(dev)
    shutil.copy(conf, "tiny.toml")
    options = [*slurm_recipe("--stage", 3, "--stop-stage", 3), "--nnodes", "2"]
    done = recipe(*options, cwd=folder)
    assert done.returncode == 1 and "give $cuda_cmd --nodes 2" in log("out/exp/tiny/softmax/log/train.log")
    assert "slurm.pl: job failed, log is in " in done.stderr and "run.sh: stage 3 failed\n" in done.stderr
    options[options.index("--cuda-cmd") + 1] += " --nodes 2"
    done = recipe(*options, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr + log("out/exp/tiny/softmax/log/train.log")
    assert "on cpu x 2" in done.stdout and Path("out/exp/tiny/softmax/final.pt").exists()
