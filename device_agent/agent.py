"""The agent's main loop: deliver results, sync, do the job that comes, again. All decisions are taken in one thread.

The main thread waits on one inbox. Signals, finished polls, finished jobs and orders to drain arrive there; the job
itself runs in a thread of its own (and its measuring in a process), the lease is renewed by a third, and a fourth
delivers the last result and gets the next job meanwhile.
"""

from __future__ import annotations

import logging
import queue
import signal
import threading
import time
from collections.abc import Callable

import grpc

from device_agent.child.process import ChildMeasurer, InProcessMeasurer, Measurer
from device_agent.events import Event, ExitCode, JobDone, Order, SyncDone
from device_agent.failures import AgentError, EnrolmentError, TlsError
from device_agent.health import HealthMonitor
from device_agent.jobs import JobRunner, LeasedJob, Outcome
from device_agent.look_ahead import Ahead, HeldJob, LookAhead
from device_agent.measuring.device import MeasuringDevice
from device_agent.measuring.procedure import Phase
from device_agent.server_link.artifacts import DISK_FULL_MESSAGE, READ_ONLY_MESSAGE, ArtifactCache
from device_agent.server_link.backoff import Backoff
from device_agent.server_link.link import Link, Trouble, describe, status, trouble
from device_agent.server_link.renewal import DEFAULT_RENEW_EVERY_S, Renewer, obey
from device_agent.server_link.session import LeaseToReturn, ServerSession
from device_agent.server_link.spool import Spool
from device_agent.server_link.tls import tls_fault
from device_agent.server_link.wire import envelope_to_proto, job_from_proto
from device_agent.settings import AgentSettings
from device_agent.state import StateDirectory
from hilnas.v1 import control_pb2
from nas_engine.domain.job_protocol import FailureType, LeaseOrder

_log = logging.getLogger(__name__)
GOODBYE_TIMEOUT_S = 5.0
MAX_PAUSE_S = 60.0
DISK_FULL_PAUSE_S = 30.0  # without jobs, after one was given back because its model could not be stored
_GIVEN_BACK = (FailureType.AGENT_SHUTDOWN, FailureType.UNSUPPORTED, FailureType.DEVICE_BUSY)


class Agent:
    """One agent process. Make it, then `run` it in the main thread.

    Args:
        measurer: measures in place of the processes that the settings describe; None starts those.

    Raises:
        AgentError: the state directory is taken or cannot be written, or the runtime does not work here.
    """

    def __init__(self, settings: AgentSettings, measurer: Measurer | None = None) -> None:
        self._settings = settings
        device = MeasuringDevice(settings.measuring)
        if measurer is None and not settings.isolate and not device.simulated:
            raise AgentError("only simulated runtimes may measure without a process of their own")
        self._link = Link(settings.link)
        self._state = StateDirectory(settings.state_dir)
        try:
            cache = ArtifactCache(settings.state_dir / "cache", max_bytes=settings.cache_bytes)
            spool = Spool(settings.state_dir / "spool")
            self._session = ServerSession(settings, self._state, self._link, device, spool, cache)
        except OSError as error:
            raise AgentError(f"state directory {settings.state_dir} cannot be written: {error}") from error
        self._measurer: Measurer = measurer or (
            ChildMeasurer(settings.measuring) if settings.isolate else InProcessMeasurer(settings.measuring)
        )
        self._runner = JobRunner(cache, self._measurer, self._link.fetch, max_model_bytes=settings.max_model_bytes)
        self._health = HealthMonitor(self._runner)
        self._inbox: queue.SimpleQueue[Event] = queue.SimpleQueue()
        self._backoff = Backoff()
        self._returned: list[LeaseToReturn] = []
        self._ahead: Ahead | None = None  # what came of looking ahead beside the running job, once it is known
        self._draining = False
        self._hurrying = False
        self._taken_over = False
        self._last_message = ""
        self._heard = False  # whether this server has answered anything since the start
        self._served = False  # whether it has taken this agent for its device since
        self._no_jobs_until, self._no_jobs_why = 0.0, ""
        self._renew_every_s = DEFAULT_RENEW_EVERY_S
        self._interrupt: Callable[[], object] = lambda: None

    def handle_signals(self) -> None:
        """SIGTERM and SIGINT drain; a second one gives the current job back."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self.stop())

    def stop(self) -> None:
        """Drain; called again, hurry. Safe from signal handlers and any thread."""
        # SimpleQueue.put may be called while the same thread is inside get, unlike an Event's set.
        self._inbox.put(Order.DRAIN)

    def run(self) -> ExitCode:
        """Serve until it is stopped.

        Raises:
            EnrolmentError: no credential that the server accepts, and none can be had: no token, or a refused one. An
                agent that has served since its start waits for an admin instead.
            TlsError: this agent and the server cannot come to a secure connection, and never did.
        """
        try:
            self._session.resume()
            self._session.require_way_in()
            self._prepare()
            while not (self._draining or self._taken_over):
                self._turn()
            self._goodbye()
            return ExitCode.TAKEN_OVER if self._taken_over else ExitCode.OK
        finally:
            self._measurer.close()
            self._link.close()
            self._state.close()

    def _turn(self) -> None:
        """Go round once: enrol if need be, deliver results, sync, do the job that comes."""
        try:
            if not self._session.enrolled:
                self._session.enroll()
            self._session.deliver()
            self._health.probe_if_due()
            response = self._sync()
        except EnrolmentError as error:
            if not self._served:  # whoever starts it is there to read this; one that served before waits for an admin
                raise
            _log.error("%s", error)
            self._pause(self._backoff.refused_s())
            return
        except grpc.RpcError as error:
            self._after_trouble(error)
            return
        except OSError as error:  # a full or failing disk: nothing is lost by trying again, all by ending
            _log.error("the state directory cannot be used: %s; again in a while", error)
            self._pause(self._backoff.refused_s())
            return
        if response is not None:
            self._returned.clear()
            self._follow(response)

    def _sync(self) -> control_pb2.SyncResponse | None:
        """Long-poll; None when it was given up in order to drain."""
        request = self._session.sync_request(
            returned=self._returned,
            health=self._health.state,
            draining=self._draining,
            takes_jobs=time.monotonic() >= self._no_jobs_until,
        )
        future = self._link.sync(request)
        future.add_done_callback(lambda done: self._inbox.put(SyncDone(done)))
        self._interrupt = future.cancel
        try:
            self._pump(lambda event: isinstance(event, SyncDone) and event.future is future, None)
        finally:
            self._interrupt = lambda: None
        try:
            return future.result()
        except grpc.FutureCancelledError:
            return None

    def _follow(self, response: control_pb2.SyncResponse) -> None:
        """Act on the server's answer: leave, pause, or do the jobs it assigns."""
        self._heed(response)
        if self._taken_over:
            return
        if not response.assignments:
            self._pause(self._backoff.jittered(min(response.next_sync_s, MAX_PAUSE_S)))
        for assignment in response.assignments:
            held: HeldJob | None = self._hold(job_from_proto(assignment))
            while held is not None:  # ends when nothing was got ahead: with the queue, or an order
                held = self._work(held)

    def _heed(self, response: control_pb2.SyncResponse) -> None:
        """Note what the server says of itself and of this agent."""
        self._heard = self._served = True
        self._backoff.succeeded(time.monotonic())
        if response.session == control_pb2.SESSION_STATE_TAKEN_OVER:
            _log.error("a newer instance of this agent speaks: leaving (%s)", response.message)
            self._taken_over = True
            return
        if response.renew_every_s > 0:
            self._renew_every_s = response.renew_every_s
        if response.message != self._last_message:
            self._last_message = response.message
            _log.info("the server says: %s", response.message or "jobs are given again")

    def _hold(self, job: LeasedJob, *, ahead: bool = False) -> HeldJob:
        """Renew a lease from now on; one that was got ahead is kept without being accepted."""
        renewer = Renewer(self._link.renew, self._session.identity, job, self._renew_every_s)
        held = HeldJob(job, renewer)
        if not ahead:
            held.ready.set()
            job.phase = Phase.FETCHING  # the first renewal accepts the lease, and that is work begun
        renewer.start(held=ahead)
        return held

    def _work(self, held: HeldJob) -> HeldJob | None:
        """Do one job; its lease is renewed until the result is on disk.

        Returns:
            The next one, where one was got ahead and may begin.
        """
        job = held.job
        _log.info("job %s attempt %d", job.lease.job_id, job.lease.attempt)
        self._interrupt = lambda: self._hurry(job)
        try:
            threading.Thread(target=self._run, args=(held,), name="job", daemon=True).start()
            if self._hurrying:
                self._hurry(job)
            look = self._look_ahead(job)
            done = self._pump(lambda event: isinstance(event, JobDone), None)
            assert isinstance(done, JobDone)
            job.phase = Phase.UPLOADING
            return self._following(job, done.outcome, look)
        finally:
            self._interrupt = lambda: None
            held.renewer.end()

    def _run(self, held: HeldJob) -> None:
        held.ready.wait()
        self._inbox.put(JobDone(held.job, self._runner.run(held.job)))

    def _look_ahead(self, running: LeasedJob) -> LookAhead | None:
        """Get the next job while this one runs, if this agent is going to take one."""
        if self._draining:
            return None
        returned = tuple(self._returned)

        def request() -> control_pb2.SyncRequest:
            return self._session.sync_request(
                returned=returned,
                health=self._health.state,
                draining=False,
                takes_jobs=time.monotonic() >= self._no_jobs_until,
                running=running,
            )

        def done(ahead: Ahead) -> None:
            if ahead.response is not None:
                del self._returned[: len(returned)]
            self._inbox.put(ahead)

        self._ahead = None
        look = LookAhead(self._session, self._link, self._runner, lambda job: self._hold(job, ahead=True), done)
        look.start(running, request)
        return look

    def _following(self, job: LeasedJob, outcome: Outcome, look: LookAhead | None) -> HeldJob | None:
        """Conclude a job; return the one that was got ahead, where the server says that it may begin now."""
        has_result = self._note(job, outcome)
        if look is not None:
            look.running_is_over()
        asking = self._ask_whether_to_begin()  # the server looks while the result is written
        if has_result:
            self._session.keep(job.lease.lease_id, envelope_to_proto(job.lease, outcome).SerializeToString())
        if not self._draining:
            self._prepare()
        if look is not None and self._ahead is None:
            self._interrupt = look.hurry
            self._pump(lambda event: isinstance(event, Ahead), None)
            asking = self._ask_whether_to_begin()
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead.response is None:
            return None
        self._heed(ahead.response)
        if ahead.held is None:
            return None
        if why_not := self._why_not(ahead.held.job, asking):
            self._returned.append(ahead.held.give_back(why_not))
            return None
        return ahead.held

    def _ask_whether_to_begin(self) -> grpc.Future[control_pb2.RenewResponse] | None:
        """Ask for the job that was got ahead; not where it is going to be given back, since that accepts its lease."""
        if self._ahead is None or self._ahead.held is None or self._unfit():
            return None
        return self._ahead.held.ask(self._link, self._session.identity)

    def _unfit(self) -> str:
        """Why this agent begins no job now; empty where it may."""
        if self._draining or self._taken_over:
            return "the agent leaves"
        if self._health.state.degraded:
            return self._health.state.reason
        return self._no_jobs_why if time.monotonic() < self._no_jobs_until else ""

    def _why_not(self, job: LeasedJob, asking: grpc.Future[control_pb2.RenewResponse] | None) -> str:
        """Why a held job is given back rather than begun; empty for one that may begin, or whose run ends at once
        because it was cancelled or is another's by now.
        """
        unfit = self._unfit()
        if unfit or asking is None:
            return f"not begun: {unfit or 'the agent could not begin it when it was due'}"
        try:
            order = obey(asking.result(), job)
        except (grpc.RpcError, grpc.FutureCancelledError):
            return "not begun: the server could not be asked whether it is still wanted"
        return "not begun: the device takes no more jobs" if order is LeaseOrder.DRAIN else ""

    def _note(self, job: LeasedJob, outcome: Outcome) -> bool:
        """Take note of how a job ended; whether the outcome is to be kept and sent, not given back or dropped."""
        what = outcome.failure.value if outcome.failure else "classified" if outcome.classification else "measured"
        _log.info("job %s: %s %s (%.2f s)", job.lease.job_id, what, outcome.message, outcome.total_s)
        self._health.note(job, outcome)
        if outcome.failure in _GIVEN_BACK:
            self._returned.append(LeaseToReturn(job.lease, outcome.failure, outcome.message))
            if outcome.message.startswith((DISK_FULL_MESSAGE, READ_ONLY_MESSAGE)):
                self._no_jobs_until, self._no_jobs_why = time.monotonic() + DISK_FULL_PAUSE_S, outcome.message
            return False
        return outcome.failure is not FailureType.LEASE_LOST

    def _prepare(self) -> None:
        """Start the next measuring process; one that cannot be started now is tried again by the job that needs it."""
        try:
            self._measurer.prepare()
        except OSError as error:
            _log.error("no measuring process can be prepared: %s", error)

    def _goodbye(self) -> None:
        """Deliver what is left and tell the server that nothing more comes; one that is away finds out by itself."""
        if self._taken_over or not self._session.enrolled:
            return
        try:
            self._session.deliver()
            request = self._session.sync_request(
                returned=self._returned, health=self._health.state, draining=True, leaving=True
            )
            self._link.sync(request).result(GOODBYE_TIMEOUT_S)
        except (grpc.RpcError, grpc.FutureTimeoutError, grpc.FutureCancelledError) as error:
            _log.warning("could not say goodbye: %s", describe(error) if isinstance(error, grpc.RpcError) else error)

    def _after_trouble(self, error: grpc.RpcError) -> None:
        kind = trouble(error)
        if status(error) in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED):
            self._after_silence(error)
            return
        self._heard = True
        if kind is Trouble.UNAUTHENTICATED and self._settings.enrolment_token and self._session.enrolled:
            _log.error("credential not accepted, enrolling again: %s", describe(error))
            self._session.forget()
            self._pause(self._backoff.next_s())
            return
        if kind is Trouble.UNAUTHENTICATED and not self._served:
            raise EnrolmentError(
                f"{self._settings.link.server} does not accept the credential of {self._settings.name} "
                f"({describe(error)}), and there is no enrolment token to get another one with: pass "
                "--enrolment-token-file or set HILNAS_ENROLMENT_TOKEN"
            ) from error
        lasting = kind in (Trouble.UNAUTHENTICATED, Trouble.REFUSED, Trouble.INVALID)
        pause_s = self._backoff.refused_s() if lasting else self._backoff.next_s()
        _log.warning("server: %s; again in %.1f s", describe(error), pause_s)
        self._pause(pause_s)

    def _after_silence(self, error: grpc.RpcError) -> None:
        """Try again, but for a fault of TLS that lasts: where it was there from the start, waiting would be in vain."""
        fault = tls_fault(self._settings.link)
        if fault is not None and fault.lasting and not self._heard:
            raise TlsError(fault.text) from error
        pause_s = self._backoff.next_s()
        if fault is None:
            _log.warning("server: %s; again in %.1f s", describe(error), pause_s)
        else:
            _log.error("%s; again in %.1f s", fault.text, pause_s)
        self._pause(pause_s)

    def _pause(self, seconds: float) -> None:
        self._pump(lambda _: self._draining, seconds)

    def _pump(self, is_wanted: Callable[[Event], bool], seconds: float | None) -> Event | None:
        """Handle what arrives until an event is the wanted one, or `seconds` have passed (then None)."""
        deadline = None if seconds is None else time.monotonic() + seconds
        while True:  # ends at the deadline or with the wanted event, which its sender always sends
            try:
                left_s = None if deadline is None else max(0.0, deadline - time.monotonic())
                event = self._inbox.get(timeout=left_s)
            except queue.Empty:
                return None
            if isinstance(event, Order):
                self._obey(event)
            if isinstance(event, Ahead):
                self._ahead = event
            if is_wanted(event):
                return event

    def _obey(self, order: Order) -> None:
        if order is Order.HURRY or self._draining:
            self._hurrying = True
        if not self._draining:
            _log.info("draining: finishing the current job, then leaving; a second signal gives it back")
        self._draining = True
        self._interrupt()

    def _hurry(self, job: LeasedJob) -> None:
        if self._hurrying:
            job.token.stop(FailureType.AGENT_SHUTDOWN, "the agent was told to stop at once")
