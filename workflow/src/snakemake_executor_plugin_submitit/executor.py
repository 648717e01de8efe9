"""The executor: submits jobs in arrays, follows them, and acts on their ends. Snakemake calls it.

Snakemake's main thread calls `run_jobs`; a thread of the base class calls `check_active_jobs`. Both change the ledger
only under its lock.
"""

from __future__ import annotations

import threading
import time
import uuid
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

from snakemake_interface_executor_plugins.executors.base import SubmittedJobInfo
from snakemake_interface_executor_plugins.executors.remote import RemoteExecutor
from snakemake_interface_executor_plugins.jobs import JobExecutorInterface

from . import ledger as states
from .backends import Backend, array_chunks, make_backend, signal_delay
from .errors import BackendError, SubmissionBusyError, SubmissionError, entry
from .jobs import Tracked, is_current, is_open, track
from .ledger import Ledger, Record
from .messages import failure, lacked_memory
from .nodes import FailedNode, avoided_nodes, report_nodes
from .policy import ALIVE, Action, Decision, End, Limits, decide
from .resources import Parameters, map_resources
from .runner import Outcome, Runner, read_events
from .settings import ExecutorSettings
from .slurm import JobState

POLL_SECONDS = 2.0
# Between the end in Slurm's records and the moment at which a report must be visible on a shared file system.
REPORT_SECONDS = 15.0
REPORT_SECONDS_COMPLETED = 90.0
UNKNOWN_SECONDS = 600.0
# Slurm revokes the credential of a job that is released within 2.5 s of its requeue.
RELEASE_SECONDS = 5.0
BUSY_SECONDS = 30.0
NODE_STATES = ("NODE_FAIL", "BOOT_FAIL")


class Executor(RemoteExecutor):
    """Snakemake's view of submitit."""

    def __post_init__(self) -> None:
        settings = self.workflow.executor_settings or ExecutorSettings()
        settings.check()
        self.settings: ExecutorSettings = settings
        self.folder = Path(settings.folder).absolute()
        self.ledger = Ledger(self.folder)
        self.backend: Backend = make_backend(settings, self.folder)
        for warning in self.backend.warnings:
            self.logger.warning(warning)
        self.limits = Limits(settings.max_continuations, settings.max_resubmissions, settings.max_memory_retries)
        self.started = time.time()
        self.next_seconds_between_status_checks = POLL_SECONDS
        self._states: dict[str, JobState] = {}
        self._asked = 0.0
        self._busy_until = 0.0
        self._active = 0
        self._submitting = threading.RLock()

    # Submission

    def run_job(self, job: JobExecutorInterface) -> None:
        """Submit one job."""
        self.run_jobs([job])

    def run_jobs(self, jobs: list[JobExecutorInterface]) -> None:
        """Submit the jobs, those with equal resources as one array; follow those that already run."""
        tracked = []
        for job in jobs:
            self.run_job_pre(job)
            tracked.append(self._track(job))
        with self._submitting, self.ledger.locked():
            fresh = [each for each in tracked if not self._attach(each)]
            self._submit(fresh)
        for each in tracked:
            self.report_job_submission(
                SubmittedJobInfo(each.job, external_jobid=each.cluster_id or None, aux={"tracked": each})
            )

    def _track(self, job: JobExecutorInterface) -> Tracked:
        own = set(self.workflow.resource_settings.resources or ())
        name = str(job.name) if not job.is_group() else "group"
        parameters = map_resources(name, dict(job.resources.items()), job.threads, self.settings.defaults(), own)
        return track(job, self.format_job_exec(job), parameters)

    def _attach(self, tracked: Tracked) -> bool:
        """Take over a submission that the ledger knows; whether there is one."""
        record = self.ledger.latest(tracked.key)
        if record is None:
            return False
        if not is_open(record):
            # Another driver finished it after this one planned it.
            is_news = record.driver != self.ledger.driver and record.time > self.started
            if record.state == states.DONE and is_news and is_current(record, tracked):
                tracked.attach(record, record.cluster_id)
                return True
            return False
        cluster_id = record.cluster_id or self.backend.find(record.token, record.index + 1).get(record.index, "")
        if not cluster_id:
            return False  # its driver died before it called sbatch
        if is_current(record, tracked):
            tracked.attach(record, cluster_id)
            self.logger.info(f"{tracked.name}: job {cluster_id} was already submitted; following it.")
            return True
        self._end_superseded(tracked.name, cluster_id)
        return False

    def _end_superseded(self, name: str, cluster_id: str) -> None:
        if cluster_id in self.backend.outcomes([cluster_id]):
            return
        self.logger.info(f"{name}: job {cluster_id} runs an older recipe or older inputs; cancelling it.")
        self.backend.cancel([cluster_id])
        deadline = time.monotonic() + REPORT_SECONDS_COMPLETED
        while time.monotonic() < deadline:
            state = self.backend.states([cluster_id]).get(cluster_id)
            if state is None or (state.state not in ALIVE):
                return
            time.sleep(1)
        raise BackendError(
            f"{name}: job {cluster_id} of an older recipe does not end after scancel. Wait for it, then run again."
        )

    def _submit(self, tracked: list[Tracked]) -> None:
        """Submit what the cluster takes now; the rest stays without an id. Call it under the ledger's lock."""
        groups: dict[Parameters, list[Tracked]] = defaultdict(list)
        for each in tracked:
            groups[each.parameters].append(each)
        for parameters, members in groups.items():
            avoided = avoided_nodes(self.folder)
            if avoided:
                parameters = parameters.without_nodes(avoided)
            room = None if self.backend.max_submit is None else self.backend.max_submit - self._active
            for chunk in array_chunks(len(members), self.backend.max_array_size, room):
                if time.monotonic() < self._busy_until:
                    return
                self._submit_array(parameters, [members[index] for index in chunk])

    def _submit_array(self, parameters: Parameters, members: list[Tracked]) -> None:
        token = uuid.uuid4().hex
        for index, each in enumerate(members):
            each.token, each.index, each.submitted_by = token, index, self.ledger.driver
        self._write(members, states.SUBMITTING)
        runners = [self._runner(each) for each in members]
        try:
            ids = self.backend.submit(parameters, runners, token)
        except SubmissionBusyError as error:
            # A call that timed out may have reached Slurm all the same.
            found = self.backend.find(token, len(members))
            if len(found) < len(members):
                self.logger.info(f"The cluster takes no more jobs now ({error}); trying again in {BUSY_SECONDS:.0f} s.")
                self._busy_until = time.monotonic() + BUSY_SECONDS
                self._write(members, states.REFUSED)
                return
            ids = [found[index] for index in range(len(members))]
        except SubmissionError as error:
            own = members[0].parameters
            if parameters != own:
                self.logger.info(
                    f"Without the nodes that failed lately the cluster refuses ({error}); trying with them."
                )
                self._submit_array(own, members)
                return
            self._write(members, states.FAILED)
            for each in members:
                each.cluster_id = f"refused: {error}"
            return
        now = time.time()
        for each, cluster_id in zip(members, ids, strict=True):
            each.cluster_id, each.submitted = cluster_id, now
        self._active += len(members)
        self._write(members, states.SUBMITTED)

    def _runner(self, tracked: Tracked) -> Runner:
        return Runner(
            command=tracked.command,
            workdir=str(Path.cwd()),
            folder=str(self.folder),
            token=tracked.token,
            index=tracked.index,
            signal_delay_seconds=signal_delay(tracked.parameters, self.settings),
            continuations=tracked.history.continuations,
            max_continuations=self.settings.max_continuations,
        )

    # Following

    async def check_active_jobs(self, active_jobs: list[SubmittedJobInfo]) -> AsyncGenerator[SubmittedJobInfo, None]:
        """Act on jobs that ended; yield those that go on."""
        by_id = {info.aux["tracked"].cluster_id: info for info in active_jobs if info.aux}
        outcomes = self.backend.outcomes(job_id for job_id in by_id if job_id)
        self._ask_states([info.aux["tracked"] for info in active_jobs if info.aux], outcomes)
        waiting: list[Tracked] = []
        for info in active_jobs:
            assert info.aux is not None
            tracked: Tracked = info.aux["tracked"]
            if not tracked.cluster_id:
                waiting.append(tracked)
                yield info
            elif tracked.cluster_id.startswith("refused: "):
                message = f"{tracked.name}: sbatch {tracked.cluster_id}\n{entry(SubmissionError.__name__)}\n"
                self.report_job_error(info, msg=message)
            else:
                self._follow_events(tracked)
                end, decision = self._judge(tracked, outcomes.get(tracked.cluster_id))
                if self._act(info, tracked, end, decision):
                    yield info
        if waiting and time.monotonic() >= self._busy_until:
            with self._submitting, self.ledger.locked():
                self._submit([each for each in waiting if not self._attach(each)])

    def _ask_states(self, tracked: list[Tracked], outcomes: Iterable[str]) -> None:
        """One call for all jobs without a report, at the settings' cadence."""
        reported = set(outcomes)
        open_ids = [each.cluster_id for each in tracked if each.submitted and each.cluster_id not in reported]
        is_due = time.monotonic() - self._asked >= self.settings.status_seconds
        # An end without a report is looked at again soon, not a cadence later.
        is_suspect = any(each.ended_since for each in tracked) and time.monotonic() - self._asked >= REPORT_SECONDS / 2
        if not open_ids or not (is_due or is_suspect):
            return
        self._asked = time.monotonic()
        before = {job_id: state.state for job_id, state in self._states.items()}
        try:
            self._states = self.backend.states(open_ids)
        except BackendError as error:
            self.logger.info(f"{error.message} Asking again in {self.settings.status_seconds} s.")
            return
        now = time.time()
        for each in tracked:
            state = self._states.get(each.cluster_id)
            if (
                state is not None
                and state.state == "PENDING"
                and before.get(each.cluster_id) in ("RUNNING", "COMPLETING")
            ):
                each.requeued = each.requeued or now  # Slurm did so itself, after a preemption or a node's failure
            each.unknown_since = 0.0 if state is not None else each.unknown_since or now
            each.ended_since = 0.0 if state is None or state.state in ALIVE else each.ended_since or now

    def _follow_events(self, tracked: Tracked) -> None:
        if tracked.requeued and time.time() - tracked.requeued >= RELEASE_SECONDS:
            if self.backend.release(tracked.cluster_id):
                tracked.requeued = 0.0
            else:
                tracked.requeued = time.time()  # still completing, or started by itself: its state says which
                state = self._states.get(tracked.cluster_id)
                if state is not None and state.state == "RUNNING":
                    tracked.requeued = 0.0
        events = read_events(self.folder, tracked.cluster_id)
        for event in events[tracked.events_seen :]:
            tracked.count(has_saved=True)
            if event.what == "requeued":
                tracked.requeues += 1
                tracked.requeued = event.time
                number = tracked.history.continuations + tracked.requeues
                self.logger.info(
                    f"{tracked.name}: job {tracked.cluster_id} saved and was requeued ({event.reason}), "
                    f"continuation {number} of at most {self.settings.max_continuations}."
                )
        tracked.events_seen = len(events)

    def _judge(self, tracked: Tracked, report: Outcome | str | None) -> tuple[Outcome | JobState | str, Decision]:
        if isinstance(report, Outcome):
            kind = "saved" if report.saved else "failed" if report.exit_code else "exit code 0"
            return report, decide(End(f"result: {kind}"), tracked.history, self.limits)
        if report is not None:
            return report, decide(End("result: failed"), tracked.history, self.limits)
        now = time.time()
        state = self._states.get(tracked.cluster_id)
        if tracked.ended_since and state is not None:
            patience = REPORT_SECONDS_COMPLETED if state.state == "COMPLETED" else REPORT_SECONDS
            if now - tracked.ended_since > patience:
                has_failed = state.state in ("FAILED", "CANCELLED")
                memory = has_failed and lacked_memory(self.backend.log_path(tracked.cluster_id))
                return state, decide(End(state.state, state.killed_by, memory), tracked.history, self.limits)
        if tracked.unknown_since and now - tracked.unknown_since > UNKNOWN_SECONDS:
            return JobState("unknown"), decide(End("unknown"), tracked.history, self.limits)
        return JobState("RUNNING"), Decision(Action.WAIT, "")

    def _act(self, info: SubmittedJobInfo, tracked: Tracked, end: Outcome | JobState | str, decision: Decision) -> bool:
        """Do what was decided; whether the job goes on."""
        if decision.action is Action.WAIT:
            return True
        self._active -= 1
        if decision.action is Action.FINISH:
            self._write_locked([tracked], states.DONE)
            self.report_job_success(info)
            return False
        log = self.backend.log_path(tracked.cluster_id)
        if decision.action is Action.STOP:
            self._write_locked([tracked], states.FAILED)
            message = failure(tracked.name, tracked.cluster_id, end, decision.why, log)
            self.report_job_error(info, msg=message, aux_logs=[str(log)])
            return False
        self._submit_again(tracked, end, decision)
        info.external_jobid = tracked.cluster_id
        return True

    def _submit_again(self, tracked: Tracked, end: Outcome | JobState | str, decision: Decision) -> None:
        history = tracked.history
        with self._submitting, self.ledger.locked():
            record = self.ledger.latest(tracked.key)
            if is_open(record) and record is not None and record.cluster_id not in ("", tracked.cluster_id):
                tracked.forget_submission()  # another driver that follows the same job was faster
                tracked.attach(record, record.cluster_id)
                return
            if decision.action is Action.CONTINUE:
                tracked.count(continuations=history.continuations + tracked.requeues + 1)
            elif decision.action is Action.MORE_MEMORY:
                tracked.parameters = tracked.parameters.with_memory(self.settings.memory_factor)
                tracked.count(memory_retries=history.memory_retries + 1)
            elif isinstance(end, JobState):
                nodes = _node_names(end.nodes)
                tracked.parameters = tracked.parameters.without_nodes(nodes)
                self._report_nodes(tracked, end, nodes)
                tracked.count(resubmissions=history.resubmissions + 1)
            old = tracked.cluster_id
            tracked.forget_submission()
            self._submit([tracked])
        what = {Action.CONTINUE: "continues as", Action.MORE_MEMORY: "gets more memory as"}
        self.logger.info(
            f"{tracked.name}: job {old} ended ({decision.why}); "
            f"{what.get(decision.action, 'starts elsewhere as')} job {tracked.cluster_id or '(queued)'}."
        )

    def _report_nodes(self, tracked: Tracked, end: JobState, nodes: list[str]) -> None:
        """Keep all later submissions away from nodes that failed; a job that was killed proves nothing of its node."""
        minutes = self.settings.avoid_nodes_minutes
        if end.state in NODE_STATES and minutes:
            report_nodes(self.folder, [FailedNode(node, end.state, tracked.name, minutes) for node in nodes])
            self.logger.info(f"{', '.join(nodes)}: {end.state}; avoided by all submissions for {minutes} minutes.")

    # The end

    def cancel_jobs(self, active_jobs: list[SubmittedJobInfo]) -> None:
        """End the jobs of this driver; with --submitit-detach leave them."""
        if self.settings.detach:
            self.logger.info("Detached: submitted jobs go on. The same command finds them again.")
            return
        mine = [info.aux["tracked"] for info in active_jobs if info.aux]
        # Jobs of another driver that still runs are its own.
        mine = [each for each in mine if each.submitted and not self._is_anothers(each)]
        self.backend.cancel([each.cluster_id for each in mine])
        self._write_locked(mine, states.CANCELLED)

    def shutdown(self) -> None:
        """Called once, at the end of the workflow."""
        super().shutdown()
        self.ledger.close()

    def _is_anothers(self, tracked: Tracked) -> bool:
        return tracked.submitted_by != self.ledger.driver and self.ledger.is_alive(tracked.submitted_by)

    def _write(self, tracked: Iterable[Tracked], state: str) -> None:
        self.ledger.append(each.record(state, self.ledger.driver) for each in tracked)

    def _write_locked(self, tracked: list[Tracked], state: str) -> None:
        if tracked:
            with self._submitting, self.ledger.locked():
                self._write(tracked, state)


def _node_names(nodes: str) -> list[str]:
    # n[1-4] stays one name for sbatch --exclude, so a comma inside brackets does not split.
    names, depth, start = [], 0, 0
    for place, character in enumerate(nodes + ","):
        depth += (character == "[") - (character == "]")
        if character == "," and not depth:
            names.append(nodes[start:place])
            start = place + 1
    return [name for name in names if name]


__all__ = ["Executor", "Record"]
