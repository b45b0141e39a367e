-- canaryd's own record, where PostgreSQL keeps it: rollouts, the journal, notices that are owed,
-- and the lease that says which daemon may act; and what its decisions leave in the user's own
-- tables, wherever the record is. The daemon calls the functions below and reads the tables; it
-- writes no table by itself.

create schema if not exists canaryd;
create table if not exists canaryd.applied (
    file text primary key,
    at timestamptz not null default clock_timestamp()
);

create table if not exists canaryd.rollout (
    id text primary key check (id <> ''),
    name text not null check (name <> ''),
    number bigint not null,
    status text not null,
    revision bigint not null check (revision > 0),
    state text not null,                         -- the whole of it, as JSON
    policy_text text not null,
    policy_file text not null,
    policy_hash text not null,
    unique (name, number)
) with (fillfactor = 50);

create table if not exists canaryd.journal (
    seq bigint primary key,                      -- 1, 2, 3 … over all rollouts
    rollout text not null references canaryd.rollout (id),
    revision bigint not null,
    at timestamptz not null,
    by text not null check (by <> ''),
    role text not null check (role <> ''),
    event text not null,                         -- JSON, byte for byte what the hash covers
    reason text not null check (reason <> ''),
    reason_bytes bytea,                          -- when it has a byte that text cannot hold
    refused boolean not null,
    state_hash text not null,
    previous text not null,
    hash text not null,
    unique (rollout, revision)
);
comment on table canaryd.journal is 'Append-only; each hash covers the entry and the hash before it: canaryctl verify.';

create or replace function canaryd.journal_is_append_only() returns trigger
language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    raise exception 'the journal is append-only';
end
$$;
create or replace trigger journal_is_append_only before update or delete on canaryd.journal
    for each row execute function canaryd.journal_is_append_only();
create or replace trigger journal_is_never_emptied before truncate on canaryd.journal
    for each statement execute function canaryd.journal_is_append_only();

create table if not exists canaryd.outbox (
    seq bigint generated always as identity primary key,
    id text not null unique check (id <> ''),
    rollout text not null,
    revision bigint not null,
    channel text not null,
    notice text not null,
    at timestamptz not null,
    settled_at timestamptz,
    why text,
    foreign key (rollout, revision) references canaryd.journal (rollout, revision)
);
create index if not exists outbox_owed on canaryd.outbox (seq) where settled_at is null;

-- One row. Only functions that hold it `for share` write the tables above, so that nobody can take
-- it over in the middle of a commit; its epoch grows with each change of holder.
create table if not exists canaryd.lease (
    one boolean primary key default true check (one),
    epoch bigint not null default 0,
    nonce text,
    holder text,                                 -- for people
    renewed_at timestamptz,
    expires_at timestamptz not null default '-infinity'
) with (fillfactor = 20);
insert into canaryd.lease (one) values (true) on conflict do nothing;

-- What this file makes, for the daemon's check at its start.
create or replace function canaryd.store_version() returns integer
language sql immutable as $$ select 1 $$;

-- Takes the lease when nobody has it or its time is over: `mine`, else who has it.
-- clock_timestamp() and not now(), which is the transaction's start.
create or replace function canaryd.take_lease(
    p_holder text, p_nonce text, p_length interval,
    out mine boolean, out epoch bigint, out holder text)
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
begin
    update canaryd.lease l
       set epoch = l.epoch + 1, nonce = p_nonce, holder = p_holder,
           renewed_at = clock_timestamp(), expires_at = clock_timestamp() + p_length
     where l.nonce is null or l.expires_at <= clock_timestamp()
        -- A clock that was set back must not keep it for ever.
        or l.renewed_at > clock_timestamp() + p_length
    returning true, l.epoch, l.holder into mine, epoch, holder;
    if mine is null then
        select false, l.epoch, l.holder into mine, epoch, holder from canaryd.lease l;
    end if;
end
$$;

-- False when somebody else has taken it. One that ran out and that nobody took is still ours.
create or replace function canaryd.renew_lease(p_epoch bigint, p_nonce text, p_length interval)
returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
begin
    update canaryd.lease l
       set renewed_at = clock_timestamp(), expires_at = clock_timestamp() + p_length
     where l.epoch = p_epoch and l.nonce = p_nonce;
    return found;
end
$$;

create or replace function canaryd.release_lease(p_epoch bigint, p_nonce text) returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
begin
    update canaryd.lease l set nonce = null, expires_at = clock_timestamp()
     where l.epoch = p_epoch and l.nonce = p_nonce;
    return found;
end
$$;

-- Stays until the transaction ends: whoever passes here acts before the next holder does.
create or replace function canaryd.hold_fence(p_epoch bigint, p_nonce text) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    l canaryd.lease;
begin
    select * into l from canaryd.lease for share;
    if l.epoch is distinct from p_epoch or l.nonce is distinct from p_nonce then
        raise exception 'the lease is %',
            case when l.nonce is null then 'released' else 'held by ' || l.holder end
            using errcode = 'CD001';
    end if;
end
$$;

create or replace function canaryd.time_of(p_ms jsonb) returns timestamptz
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select timestamptz 'epoch' + (p_ms #>> '{}')::bigint * interval '1 millisecond'
$$;

-- An order that a daemon which was stopped and goes on cannot give.
create or replace function canaryd.order_route_fenced(
    p_epoch bigint, p_nonce text, p_name text, p_weight integer, p_revision bigint,
    p_valid_until timestamptz, p_by text, p_reason text, p_readers text default null)
returns boolean
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
begin
    perform canaryd.hold_fence(p_epoch, p_nonce);
    return canaryd.order_route(p_name, p_weight, p_revision, p_valid_until, p_by, p_reason,
                               p_readers);
end
$$;

-- The route row that a decision orders. A raise counts on the row that canaryd has read: one that
-- somebody changed since is left for canaryd to read again.
create or replace function canaryd.order_decided(p_name text, p jsonb) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
declare
    wanted integer := (p ->> 'weight')::integer;
    there record;
begin
    select r.weight, r.revision, r.managed into there from canaryd.route r
     where r.name = p_name for no key update;
    if found and wanted >= there.weight and there.revision <> (p ->> 'seen')::bigint then
        return;
    end if;
    if not found and (p ->> 'seen')::bigint <> 0 then
        return;
    end if;
    -- A row that has the weight already becomes canaryd's, unless nobody is on the canary: then it
    -- keeps the words of whoever rolled back.
    if found and wanted = there.weight and (there.managed or wanted = 0) then
        return;
    end if;
    perform canaryd.order_route(p_name, wanted, coalesce(there.revision, 0) + 1,
                                canaryd.time_of(p -> 'valid_until'), p ->> 'by', p ->> 'reason',
                                p ->> 'readers');
end
$$;

-- The user's own tables, which are about one migration: one row a phase, one row a rollback. By
-- canaryd.commit() in its transaction, else by the daemon itself after the route has moved.
create or replace function canaryd.record_decided(p jsonb, p_reason text, out rollback_id integer)
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '500ms' as $$
declare
    one jsonb;
    it jsonb := p -> 'rollback';
begin
    if to_regclass('public.migration_status') is not null then
        for one in select jsonb_array_elements(p -> 'phases') loop
            if one ->> 'reset' is not null then
                update public.migration_status m
                   set percentage = 0, unified_users = 0, started_at = null, completed_at = null,
                       success_criteria_met = false, notes = null
                 where m.phase = one ->> 'phase';
                continue;
            end if;
            perform canaryd.record_phase(
                one ->> 'phase', (one ->> 'percentage')::integer,
                canaryd.time_of(one -> 'started_at'), canaryd.time_of(one -> 'completed_at'),
                (one ->> 'met')::boolean, one ->> 'notes');
            if one ->> 'reopen' is not null then
                update public.migration_status m
                   set completed_at = null, success_criteria_met = false
                 where m.phase = one ->> 'phase';
            end if;
        end loop;
    end if;
    if it is null or to_regclass('public.migration_rollbacks') is null then
        return;
    end if;
    -- Asked again when nobody knows whether the first time succeeded.
    select r.id into rollback_id from public.migration_rollbacks r
     where r.rolled_back_at = canaryd.time_of(it -> 'at') and r.reason = p_reason limit 1;
    if found then
        return;
    end if;
    -- Somebody who rolled back past canaryd may have written the row already.
    if it ->> 'by_hand' is not null and exists (
        select from public.migration_rollbacks r
         where r.rolled_back_at >= canaryd.time_of(it -> 'since')
           and position(r.reason in p_reason) > 0) then
        return;
    end if;
    rollback_id := canaryd.record_rollback(
        it ->> 'phase', p_reason, (it ->> 'error_rate')::numeric, (it ->> 'latency_p95')::integer,
        null, it ->> 'by', canaryd.time_of(it -> 'at'));
end
$$;

-- One decision: state, journal entry, owed notices and, where the route is in this database, the
-- route row and the user's tables. All of it or nothing; what fails in the last two is told in
-- `trouble` and undone by itself, for nothing of them may stop a rollback.
create or replace function canaryd.commit(p jsonb, out trouble text, out rollback_id integer)
language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '2s' as $$
declare
    id_of text := p ->> 'id';
    stored bigint;
    head record;
    started jsonb := p -> 'started';
begin
    perform canaryd.hold_fence((p ->> 'epoch')::bigint, p ->> 'nonce');
    select r.revision into stored from canaryd.rollout r where r.id = id_of for update;
    if coalesce(stored, 0) + 1 <> (p ->> 'revision')::bigint then
        raise exception '% is stored at revision %, so revision % cannot follow',
            id_of, coalesce(stored, 0), p ->> 'revision' using errcode = 'CD002';
    end if;
    if stored is not null then
        update canaryd.rollout r
           set status = p ->> 'status', revision = (p ->> 'revision')::bigint, state = p ->> 'state'
         where r.id = id_of;
    elsif started is null then
        raise exception '% was never started', id_of using errcode = 'CD002';
    else
        insert into canaryd.rollout (id, name, number, status, revision, state, policy_text,
                                     policy_file, policy_hash)
        select id_of, p ->> 'name',
               (select coalesce(max(number), 0) + 1 from canaryd.rollout o where o.name = p ->> 'name'),
               p ->> 'status', (p ->> 'revision')::bigint, p ->> 'state', started ->> 'policy_text',
               started ->> 'policy_file', started ->> 'policy_hash';
    end if;
    select j.seq, j.hash into head from canaryd.journal j order by j.seq desc limit 1;
    if coalesce(head.seq, 0) + 1 <> (p ->> 'seq')::bigint
       or coalesce(head.hash, '') <> p ->> 'previous' then
        raise exception 'the newest journal entry is number %, so number % cannot follow',
            coalesce(head.seq, 0), p ->> 'seq' using errcode = 'CD002';
    end if;
    insert into canaryd.journal (seq, rollout, revision, at, by, role, event, reason, reason_bytes,
                                 refused, state_hash, previous, hash)
    values ((p ->> 'seq')::bigint, id_of, (p ->> 'revision')::bigint, canaryd.time_of(p -> 'at'),
            p ->> 'by', p ->> 'role', p ->> 'event', p ->> 'reason',
            decode(p ->> 'reason_bytes', 'hex'), (p ->> 'refused')::boolean, p ->> 'state_hash',
            p ->> 'previous', p ->> 'hash');
    insert into canaryd.outbox (id, rollout, revision, channel, notice, at)
    select o ->> 'id', o ->> 'rollout', (o ->> 'revision')::bigint, o ->> 'channel',
           o ->> 'notice', canaryd.time_of(o -> 'at')
      from jsonb_array_elements(p -> 'owed') with ordinality owed (o, n) order by n;
    if p ? 'route' then
        begin
            perform canaryd.order_decided(p ->> 'name', p -> 'route');
        exception when others then
            trouble := concat_ws('; ', trouble, 'the route: ' || sqlerrm);
        end;
    end if;
    if p ? 'user_tables' and p ->> 'name' = 'unified-webhook' then
        begin
            rollback_id := canaryd.record_decided(p -> 'user_tables', p ->> 'reason');
        exception when others then
            trouble := concat_ws('; ', trouble, 'migration_status and migration_rollbacks: ' || sqlerrm);
        end;
    end if;
end
$$;

-- Since when a fault shows that was found by `p_to` and was there at `p_latest`: the most likely
-- point of change. A walk goes up with each failed request and down by the limit with each request,
-- so that under the limit it falls and above it rises: the fault began after its lowest point (Page
-- 1954). The same for slow ones, and the earlier of the two. Steps of a second or more, 1,440 at
-- most. Without a limit of a kind that walk only falls, and says nothing.
create or replace function canaryd.fault_began(
    p_canary text, p_since timestamptz, p_latest timestamptz, p_to timestamptz,
    p_failed double precision, p_slower integer, p_too_slow double precision)
returns timestamptz
-- Not in SQL: that would ask for the table when it is made.
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return (
        with counted as (
            select date_bin(greatest(interval '1 s', (p_to - p_since) / 1440), m.created_at, p_since)
                       as at,
                   count(*) as n,
                   count(*) filter (where m.status in ('error', 'timeout')) as failed,
                   count(*) filter (where m.status = 'timeout' or m.duration_ms > p_slower) as slow
              from public.webhook_metrics m
             where m.webhook_name = p_canary and m.created_at >= p_since and m.created_at < p_to
             group by 1
        ), walk as (
            select timestamptz '-infinity' as at, 0::double precision as failed,
                   0::double precision as slow
            union all
            select at, sum(failed - coalesce(p_failed, 1) * n) over sorted,
                   sum(slow - coalesce(p_too_slow, 1) * n) over sorted
              from counted window sorted as (order by at)
        )
        select least(p_latest, min(at) filter (where at > lowest.failed),
                     min(at) filter (where at > lowest.slow))
          from walk, (select (array_agg(at order by failed, at desc))[1] as failed,
                             (array_agg(at order by slow, at desc))[1] as slow from walk) lowest);
end
$$;

-- After the route has moved: exact figures of a rollback, since its fault began.
create or replace function canaryd.complete_rollback(
    p_id integer, p_canary text, p_from timestamptz, p_to timestamptz) returns void
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    update public.migration_rollbacks r
       set error_rate = coalesce(seen.error_rate, r.error_rate),  -- a share: at most 100
           latency_p95 = coalesce(seen.p95, r.latency_p95)
      from (select round(100.0 * count(*) filter (where m.status in ('error', 'timeout'))
                         / nullif(count(*), 0), 2) as error_rate,
                   percentile_disc(0.95) within group (order by m.duration_ms) as p95
              from public.webhook_metrics m
             where m.webhook_name = p_canary and m.created_at >= p_from and m.created_at < p_to) seen
     where r.id = p_id;
end
$$;

create or replace function canaryd.settle(p_id text, p_why text) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    update canaryd.outbox set settled_at = clock_timestamp(), why = p_why
     where id = p_id and settled_at is null
$$;

revoke all on canaryd.rollout, canaryd.journal, canaryd.outbox, canaryd.lease from public;
revoke all on all functions in schema canaryd from public;
do $$
declare
    it text;
begin
    foreach it in array array['anon', 'authenticated'] loop
        continue when to_regrole(it) is null;
        execute format('revoke all on canaryd.rollout, canaryd.journal, canaryd.outbox, canaryd.lease '
                       'from %I', it);
    end loop;
end
$$;
insert into canaryd.applied (file) values ('0005_store.sql') on conflict do nothing;
