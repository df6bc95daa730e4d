"""One job of every rule of a finished run, and a job's script run by itself.

``python rule_jobs.py plan JOBS CONFIGURATION=TARGET,TARGET ...`` in the folder of a finished run
writes the jobs of these targets, by rule, and waits for the end of its input;
``python rule_jobs.py run JOBS RULE ASKED`` in any other folder runs the one of a rule there, and
writes what its process asked for: paths of files that it opened to read and of folders that it
listed, found or not. (What libraries in C open, and worker processes, is not seen.)
"""

import os
import pickle
import runpy
import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"


def plan(jobs_file, *calls) -> None:
    sys.path.insert(0, str(SCRIPTS))
    import debug

    found = {}
    for call in calls:
        configuration, targets = call.split("=")
        jobs, config = debug.jobs_of(*targets.split(","), configfile=Path(configuration), cores=2)
        # a fold's training is shorter than the final one
        for job in sorted(jobs, key=lambda job: ("/final/" in str(job.output), list(job.output))):
            if (job.is_script or job.is_shell) and job.rule.name not in found:
                script = debug.script_of(job, config) if job.is_script else None
                found[job.rule.name] = described(job, script)
    Path(jobs_file).write_bytes(pickle.dumps(found))
    print("planned", flush=True)
    sys.stdin.read()  # Snakemake's copies of files beside the rules go when this process ends


def described(job, script) -> dict:
    return {
        "after": {
            before.rule.name
            for before in job.dag.bfs(job.dag.dependencies, job)
            if before is not job
        },
        "inputs": list(map(str, job.input)),
        "outputs": list(map(str, job.output)),
        "log": list(map(str, job.log)),
        "shard": job.wildcards_dict.get("shard"),
        "command": job.shellcmd,
        "script": script,
    }


def run(jobs_file, rule, asked_file) -> None:
    job = pickle.loads(Path(jobs_file).read_bytes())[rule]
    if job["command"]:
        subprocess.run(["bash", "-euo", "pipefail", "-c", job["command"]], check=True)
        return
    asked, made = set(), set()

    def listen(event, arguments):
        if event not in ("open", "os.listdir", "os.scandir") or isinstance(arguments[0], int):
            return
        path = os.path.relpath(os.fsdecode(arguments[0] or "."))
        if event == "open" and arguments[2] & os.O_CREAT:
            made.add(path)
        elif event == "open" and arguments[1] is None:
            return  # os.open: of temporary folders that are removed, by names below them
        elif path not in made and ".partial-" not in path:
            asked.add(path)

    sys.addaudithook(listen)
    try:
        script, snakemake = job["script"]
        runpy.run_path(script, init_globals={"snakemake": snakemake}, run_name="__main__")
    finally:
        Path(asked_file).write_text("\n".join(sorted(asked)), encoding="utf-8")


if __name__ == "__main__":
    {"plan": plan, "run": run}[sys.argv[1]](*sys.argv[2:])
