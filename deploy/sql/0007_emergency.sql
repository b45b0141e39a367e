-- The plan's emergency SQL keeps its meaning, whoever runs it and whether canaryd is up or down: a
-- statement that takes the flag from a hundred users, or from all that had it, and an insert into
-- migration_rollbacks. Either sets the route to nobody in the same transaction, by that role.
--
-- The route row is written when the transaction commits and not before: a long UPDATE of the users
-- must not hold the row that canaryd's own rollback would have to write meanwhile.

create table if not exists canaryd.emergency (
    id bigint generated always as identity primary key,
    name text not null,
    by text not null,
    reason text not null,
    at timestamptz not null default clock_timestamp(),
    transaction xid8 not null default pg_current_xact_id(),
    unique (transaction, name)
);
comment on table canaryd.emergency is 'Emergency SQL that was honoured, one row a transaction.';

create or replace function canaryd.emergency(p_by text, p_reason text) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into canaryd.emergency as e (name, by, reason)
    values ('unified-webhook', p_by, left(p_reason, 1000))
    on conflict (transaction, name) do update
       set by = excluded.by,
           reason = case when position(excluded.reason in e.reason) > 0 then e.reason
                         else left(e.reason || '; ' || excluded.reason, 1000) end
$$;

create or replace function canaryd.emergency_commits() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    e canaryd.emergency;
begin
    select * into e from canaryd.emergency where id = new.id;
    insert into canaryd.route as r (name, weight, revision, by, reason)
    values (e.name, 0, 1, e."by", e.reason)
    on conflict (name) do update
       set weight = 0, revision = r.revision + 1, by = excluded.by, reason = excluded.reason;
    return null;
end
$$;
do $$
begin
    if not exists (select from pg_trigger where tgrelid = 'canaryd.emergency'::regclass
                                            and tgname = 'canaryd_emergency_commits') then
        create constraint trigger canaryd_emergency_commits after insert on canaryd.emergency
            deferrable initially deferred
            for each row execute function canaryd.emergency_commits();
    end if;
end
$$;

-- What a statement does to the flags is counted in settings of its transaction.
create or replace function canaryd.flag_counter(p_name text) returns bigint
language sql stable set search_path = pg_catalog, pg_temp as $$
    select coalesce(nullif(current_setting('canaryd.' || p_name, true), ''), '0')::bigint
$$;

create or replace function canaryd.flags_begin() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform set_config('canaryd.updated_before',
                       pg_stat_get_xact_tuples_updated(tg_relid)::text, true);
    perform set_config('canaryd.flags_moved', '0', true);
    return null;
end
$$;

-- For each row whose flag somebody else changed.
create or replace function canaryd.flag_moves() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform set_config('canaryd.flags_moved', '1', true);
    if old.use_unified_webhook and new.use_unified_webhook is not true then
        perform set_config('canaryd.unflagged',
                           (canaryd.flag_counter('unflagged') + 1)::text, true);
    end if;
    return null;
end
$$;

create or replace function canaryd.flags_end() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    unflagged bigint := canaryd.flag_counter('unflagged');
    touched bigint := pg_stat_get_xact_tuples_updated(tg_relid)
                      - canaryd.flag_counter('updated_before');
    everybody bigint;
    any_flagged boolean;
begin
    if current_setting('canaryd.acting', true) is not distinct from 'on' then
        return null;
    end if;
    if canaryd.flag_counter('flags_moved') > 0 then
        update canaryd.flags set decided = -1 where decided <> -1;  -- they are to follow anew
    end if;
    if unflagged >= 100 then
        perform canaryd.emergency(canaryd.who(), 'an UPDATE of ' || tg_table_name ||
                                  ' took the flag from 100 users or more');
        return null;
    end if;
    if touched = 0 then
        return null;
    end if;
    execute format('select exists (select from %s where use_unified_webhook)', tg_relid::regclass)
        into any_flagged;
    if any_flagged then
        return null;
    end if;
    if unflagged > 0 then
        perform canaryd.emergency(canaryd.who(), 'an UPDATE of ' || tg_table_name ||
                                  ' took the flag from all users that had it');
        return null;
    end if;
    -- Where only the function is asked no flag may ever have been set: the statement is known by
    -- its reach, and not mistaken for an application that saves one user with all columns.
    if not exists (select from canaryd.route where name = 'unified-webhook' and weight > 0) then
        return null;
    end if;
    select reltuples into everybody from pg_class where oid = tg_relid;
    if everybody < 1000 then
        execute format('select count(*) from %s', tg_relid::regclass) into everybody;
    end if;
    if touched >= everybody * 0.9 then
        perform canaryd.emergency(canaryd.who(), 'an UPDATE of ' || tg_table_name ||
                                  ' set the flag to false for everybody');
    end if;
    return null;
end
$$;

create or replace function canaryd.rollback_recorded() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    role text := canaryd.who();
begin
    perform canaryd.emergency(
        case when coalesce(new.rolled_back_by, '') in ('', role) then role
             else format('%s (role %s)', new.rolled_back_by, role) end,
        coalesce(nullif(new.reason, ''), 'an insert into migration_rollbacks'));
    return null;
end
$$;

do $$
declare
    users regclass := canaryd.user_table();
begin
    perform set_config('lock_timeout', '5s', true);
    execute format('create or replace trigger canaryd_flags_begin '
                   'before update of use_unified_webhook on %s '
                   'for each statement execute function canaryd.flags_begin()', users);
    execute format($t$ create or replace trigger canaryd_flag_moves
        after update of use_unified_webhook on %s for each row
        when (old.use_unified_webhook is distinct from new.use_unified_webhook
              and current_setting('canaryd.acting', true) is distinct from 'on')
        execute function canaryd.flag_moves() $t$, users);
    execute format('create or replace trigger canaryd_flags_end '
                   'after update of use_unified_webhook on %s '
                   'for each statement execute function canaryd.flags_end()', users);
end
$$;
create or replace trigger canaryd_rollback_recorded after insert on public.migration_rollbacks
    for each row when (current_setting('canaryd.acting', true) is distinct from 'on')
    execute function canaryd.rollback_recorded();

-- What canaryd itself writes into the user's two tables, one statement each.
create or replace function canaryd.record_rollback(
    p_phase text, p_reason text, p_error_rate numeric, p_latency_p95 integer, p_complaints integer,
    p_by text, p_at timestamptz default now())
returns integer language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    made integer;
begin
    perform canaryd.act(true);
    insert into public.migration_rollbacks (phase, reason, error_rate, latency_p95, user_complaints,
                                            rolled_back_at, rolled_back_by)
    values (p_phase, p_reason, least(p_error_rate, 999.99), p_latency_p95, p_complaints, p_at, p_by)
    returning id into made;
    perform canaryd.act(false);
    return made;
end
$$;

-- One row a phase. Null leaves what is there; `total_users` is the server's own estimate on a large
-- table, and `unified_users` the share of them that the route decides for.
create or replace function canaryd.record_phase(
    p_phase text, p_percentage integer, p_started_at timestamptz default null,
    p_completed_at timestamptz default null, p_criteria_met boolean default null,
    p_notes text default null)
returns void language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    everybody bigint;
    it integer;
begin
    select reltuples into everybody from pg_class where oid = canaryd.user_table();
    if everybody < 100000 then
        execute format('select count(*) from %s', canaryd.user_table()) into everybody;
    end if;
    select id into it from public.migration_status
     where phase = p_phase order by id limit 1 for update;
    if not found then
        insert into public.migration_status (phase, percentage)
        values (p_phase, p_percentage) returning id into it;
    end if;
    update public.migration_status m
       set percentage = p_percentage, total_users = everybody,
           unified_users = everybody * p_percentage / 100,
           started_at = coalesce(p_started_at, m.started_at),
           completed_at = coalesce(p_completed_at, m.completed_at),
           success_criteria_met = coalesce(p_criteria_met, m.success_criteria_met),
           notes = coalesce(p_notes, m.notes)
     where m.id = it;
end
$$;

revoke all on all functions in schema canaryd from public;
insert into canaryd.applied (file) values ('0007_emergency.sql') on conflict do nothing;
