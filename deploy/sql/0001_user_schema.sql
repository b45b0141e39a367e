-- What the first user's own migration makes: the flag, three tables and their helper. Where it was
-- applied this changes no column, no row and no right that was given on purpose; where it was not,
-- it makes the same. The user table is public.users, else public.profiles; its id is a uuid.

create schema if not exists canaryd;
comment on schema canaryd is 'Progressive delivery; not for the API.';

create table if not exists canaryd.applied (
    file text primary key,
    at timestamptz not null default clock_timestamp()
);
alter table canaryd.applied add column if not exists sha256 text;  -- by canaryctl migrate
comment on table canaryd.applied is 'Which files of deploy/sql this database has, and since when.';

-- The one with the flag already; else users, else profiles. In PL/pgSQL, which keeps its plan.
create or replace function canaryd.user_table() returns regclass
language plpgsql stable set search_path = pg_catalog, pg_temp as $$
begin
    return (
        select c.oid::regclass
          from pg_class c
          join pg_attribute id on id.attrelid = c.oid and id.attname = 'id'
                              and id.atttypid = 'uuid'::regtype
          left join pg_attribute flag on flag.attrelid = c.oid
                                     and flag.attname = 'use_unified_webhook'
                                     and not flag.attisdropped
         where c.relnamespace = to_regnamespace('public') and c.relname in ('users', 'profiles')
           and c.relkind = 'r' and not id.attisdropped
         order by (flag.attname is not null) desc, c.relname = 'users' desc
         limit 1);
end
$$;

do $$
declare
    users regclass := canaryd.user_table();
begin
    if users is null then
        raise exception 'canaryd needs a table public.users or public.profiles with "id uuid"'
            using hint = 'It is the table whose users are moved; make it first.';
    end if;
    -- A short wait for the lock, so that a long transaction on the table stops this file and not
    -- everybody who comes after it. Apply it again then.
    perform set_config('lock_timeout', '5s', true);
    execute format('alter table %s add column if not exists use_unified_webhook boolean '
                   'default false', users);
    if not exists (select from pg_index i
                     join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
                    where i.indrelid = users and a.attname = 'use_unified_webhook') then
        execute format('create index %I on %s (use_unified_webhook) where use_unified_webhook',
                       'idx_' || (select relname from pg_class where oid = users) ||
                       '_unified_webhook', users);
    end if;
    execute format($t$
        create table if not exists public.webhook_metrics (
            id bigserial primary key,
            webhook_name text not null,
            user_id uuid references %s (id),
            agent_type text,
            started_at timestamptz not null default now(),
            completed_at timestamptz,
            duration_ms integer,
            status text not null check (status in ('success', 'error', 'timeout')),
            error_message text,
            request_id text,
            created_at timestamptz not null default now()
        ) $t$, users);
end
$$;

create table if not exists public.migration_status (
    id serial primary key,
    phase text check (phase in ('week4', 'week5', 'week6', 'week7+')),
    percentage integer,
    total_users integer,
    unified_users integer,
    started_at timestamptz,
    completed_at timestamptz,
    success_criteria_met boolean default false,
    notes text,
    created_at timestamptz default now()
);
insert into public.migration_status (phase, percentage)
select 'week4', 0
 where not exists (select from public.migration_status where phase = 'week4');

create table if not exists public.migration_rollbacks (
    id serial primary key,
    phase text,
    reason text,
    error_rate decimal(5, 2),
    latency_p95 integer,
    user_complaints integer,
    rolled_back_at timestamptz default now(),
    rolled_back_by text
);

-- Indexes by what they serve, whatever their names are.
do $$
declare
    wanted text;
begin
    foreach wanted in array array['webhook_name', 'user_id', 'status'] loop
        continue when exists (
            select from pg_index i
              join pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
              join pg_attribute b on b.attrelid = i.indrelid and b.attnum = i.indkey[1]
             where i.indrelid = 'public.webhook_metrics'::regclass and i.indpred is null
               and a.attname = wanted and b.attname = 'created_at');
        execute format('create index idx_webhook_metrics_%s on public.webhook_metrics '
                       '(%I, created_at desc)', wanted, wanted);
    end loop;
end
$$;

do $$
begin
    if to_regprocedure('public.log_webhook_metric(text, uuid, text, timestamptz, timestamptz, '
                       'text, text, text)') is null then
        execute $f$
            create function public.log_webhook_metric(
                p_webhook_name text, p_user_id uuid, p_agent_type text, p_started_at timestamptz,
                p_completed_at timestamptz, p_status text, p_error_message text default null,
                p_request_id text default null)
            returns void language sql security definer set search_path = pg_catalog, pg_temp
            as $body$
                insert into public.webhook_metrics (webhook_name, user_id, agent_type, started_at,
                    completed_at, duration_ms, status, error_message, request_id)
                values (p_webhook_name, p_user_id, p_agent_type, p_started_at, p_completed_at,
                    round(extract(epoch from p_completed_at - p_started_at) * 1000)::integer,
                    p_status, p_error_message, p_request_id)
            $body$ $f$;
    end if;
end
$$;

-- Only the service reads and writes these three. Whoever could log a request could vouch for the
-- canary, so that logging is the service's alone as well.
revoke execute on function public.log_webhook_metric(text, uuid, text, timestamptz, timestamptz,
    text, text, text) from public;
do $$
declare
    it text;
begin
    foreach it in array array['webhook_metrics', 'migration_status', 'migration_rollbacks'] loop
        execute format('alter table public.%I enable row level security', it);
        continue when to_regrole('service_role') is null;
        execute format('grant all on public.%I to service_role', it);
        execute format('grant usage, select on sequence %s to service_role',
                       pg_get_serial_sequence('public.' || it, 'id'));
        if not exists (select from pg_policy
                        where polrelid = ('public.' || it)::regclass
                          and to_regrole('service_role') = any (polroles)) then
            execute format('create policy %I on public.%I for all to service_role using (true)',
                           'service_role_' || it, it);
        end if;
    end loop;
    foreach it in array array['anon', 'authenticated'] loop
        continue when to_regrole(it) is null;
        execute format('revoke execute on function public.log_webhook_metric(text, uuid, text, '
                       'timestamptz, timestamptz, text, text, text) from %I', it);
        execute format('revoke all on schema canaryd from %I', it);
    end loop;
    if to_regrole('service_role') is not null then
        grant execute on function public.log_webhook_metric(text, uuid, text, timestamptz,
            timestamptz, text, text, text) to service_role;
    end if;
end
$$;

revoke all on schema canaryd from public;
insert into canaryd.applied (file) values ('0001_user_schema.sql') on conflict do nothing;
