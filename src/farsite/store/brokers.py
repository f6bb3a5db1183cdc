"""Brokers, the jobs that wait for them and the answers that came. Contents are encrypted by whoever calls."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from farsite.model.errors import Conflict, NotFound
from farsite.model.ids import ProjectId, VnfInstanceId
from farsite.store.exclusion import insert_if_absent
from farsite.store.tables import broker_jobs, brokers


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerRow:
    """A broker, when it was heard last, and how many jobs have no answer yet."""

    name: str
    created_at: datetime
    heard_at: datetime | None
    waiting: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JobRow:
    """A job without an answer."""

    id: str
    vnf_id: VnfInstanceId
    job: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class JobStanding:
    """How far a job is: when its broker was given it (None: it stands in line), its sealed answer, and when
    the broker was heard last."""

    given_at: datetime | None
    answer: bytes | None
    heard_at: datetime | None


def create(connection: sa.Connection, project_id: ProjectId, name: str, *, at: datetime) -> None:
    """Make a broker known.

    Raises:
        Conflict: the name is taken.
    """
    if not insert_if_absent(connection, brokers, project_id=project_id, name=name, created_at=at):
        raise Conflict(f'A broker named "{name}" exists already. Delete it first, or choose another name.')


def get(connection: sa.Connection, project_id: ProjectId, name: str) -> BrokerRow:
    """One broker.

    Raises:
        NotFound: there is none of that name; says which there are.
    """
    known = all_of(connection, project_id)
    for one in known:
        if one.name == name:
            return one
    names = ", ".join(one.name for one in known) or "none"
    raise NotFound(f'There is no broker "{name}". There are: {names}. Make one: farsite broker create.')


def all_of(connection: sa.Connection, project_id: ProjectId) -> list[BrokerRow]:
    """A project's brokers, by name."""
    counted = connection.execute(
        sa.select(broker_jobs.c.broker, sa.func.count().label("waiting"))
        .where(broker_jobs.c.project_id == project_id, broker_jobs.c.answer.is_(None))
        .group_by(broker_jobs.c.broker)
    )
    waiting = {row.broker: int(row.waiting) for row in counted}
    query = sa.select(brokers).where(brokers.c.project_id == project_id).order_by(brokers.c.name)
    return [
        BrokerRow(
            name=row.name, created_at=row.created_at, heard_at=row.heard_at, waiting=waiting.get(row.name, 0)
        )
        for row in connection.execute(query)
    ]


def remove(connection: sa.Connection, project_id: ProjectId, name: str) -> None:
    """Forget a broker and what waits for it; absent is success."""
    for table, column in ((broker_jobs, broker_jobs.c.broker), (brokers, brokers.c.name)):
        connection.execute(sa.delete(table).where(table.c.project_id == project_id, column == name))


def heard(connection: sa.Connection, project_id: ProjectId, name: str, at: datetime) -> None:
    """Note that a broker asked."""
    connection.execute(
        sa.update(brokers)
        .where(brokers.c.project_id == project_id, brokers.c.name == name)
        .values(heard_at=at)
    )


def put_job(
    connection: sa.Connection,
    *,
    job_id: str,
    project_id: ProjectId,
    broker: str,
    vnf_id: VnfInstanceId,
    number: int,
    job: bytes,
    deadline_at: datetime,
) -> None:
    """Have a broker do a job; one that is known already is left as it is. `number` gives their order."""
    insert_if_absent(
        connection,
        broker_jobs,
        id=job_id,
        project_id=project_id,
        broker=broker,
        vnf_id=vnf_id,
        number=number,
        job=job,
        deadline_at=deadline_at,
    )


def waiting_for(
    connection: sa.Connection, project_id: ProjectId, broker: str, *, but: Collection[str], at_most: int
) -> Sequence[JobRow]:
    """Jobs of a broker without an answer, in their order, without those that it knows."""
    query = (
        sa.select(broker_jobs.c.id, broker_jobs.c.vnf_id, broker_jobs.c.job)
        .where(
            broker_jobs.c.project_id == project_id,
            broker_jobs.c.broker == broker,
            broker_jobs.c.answer.is_(None),
            broker_jobs.c.id.not_in(list(but)),
        )
        .order_by(broker_jobs.c.number)
        .limit(at_most)
    )
    return [
        JobRow(id=row.id, vnf_id=VnfInstanceId(row.vnf_id), job=row.job) for row in connection.execute(query)
    ]


def give(connection: sa.Connection, job_ids: Collection[str], at: datetime) -> None:
    """Note that a broker is given these jobs; of one that it is given again the first time counts."""
    connection.execute(
        sa.update(broker_jobs)
        .where(broker_jobs.c.id.in_(list(job_ids)), broker_jobs.c.given_at.is_(None))
        .values(given_at=at)
    )


def vnf_of_job(connection: sa.Connection, project_id: ProjectId, broker: str, job_id: str) -> VnfInstanceId:
    """Whose device a job is for.

    Raises:
        NotFound: nobody waits for it any more.
    """
    found = connection.execute(
        sa.select(broker_jobs.c.vnf_id).where(
            broker_jobs.c.project_id == project_id,
            broker_jobs.c.broker == broker,
            broker_jobs.c.id == job_id,
        )
    ).scalar()
    if found is None:
        raise NotFound(f"Nobody waits for job {job_id} of broker {broker} any more.")
    return VnfInstanceId(found)


def job_of(connection: sa.Connection, project_id: ProjectId, broker: str, job_id: str) -> JobRow:
    """A job that has no answer yet.

    Raises:
        NotFound: nobody waits for it any more.
    """
    vnf_id = vnf_of_job(connection, project_id, broker, job_id)
    job = connection.execute(sa.select(broker_jobs.c.job).where(broker_jobs.c.id == job_id)).scalar()
    if job is None:
        raise NotFound(f"Job {job_id} of broker {broker} is answered already.")
    return JobRow(id=job_id, vnf_id=vnf_id, job=job)


def put_answer(connection: sa.Connection, job_id: str, answer: bytes) -> None:
    """Keep an answer, and forget the job with its secrets. The first answer counts."""
    connection.execute(
        sa.update(broker_jobs)
        .where(broker_jobs.c.id == job_id, broker_jobs.c.answer.is_(None))
        .values(answer=answer, job=None)
    )


def standing_of(connection: sa.Connection, job_id: str) -> JobStanding | None:
    """How far a job is; None: it was forgotten, or its broker was."""
    found = connection.execute(
        sa.select(broker_jobs.c.given_at, broker_jobs.c.answer, brokers.c.heard_at)
        .join(
            brokers,
            sa.and_(brokers.c.project_id == broker_jobs.c.project_id, brokers.c.name == broker_jobs.c.broker),
        )
        .where(broker_jobs.c.id == job_id)
    ).one_or_none()
    if found is None:
        return None
    return JobStanding(given_at=found.given_at, answer=found.answer, heard_at=found.heard_at)


def withdraw(connection: sa.Connection, job_id: str) -> None:
    """Take a job out of its broker's line; one that was given stays."""
    connection.execute(
        sa.delete(broker_jobs).where(broker_jobs.c.id == job_id, broker_jobs.c.given_at.is_(None))
    )


def forget_job(connection: sa.Connection, job_id: str) -> None:
    connection.execute(sa.delete(broker_jobs).where(broker_jobs.c.id == job_id))


def forget_late(connection: sa.Connection, before: datetime) -> int:
    """Forget jobs whose time was over before then; how many."""
    return connection.execute(sa.delete(broker_jobs).where(broker_jobs.c.deadline_at < before)).rowcount
