-- What the first user's own migration made, by its names and types; written anew, its faults kept.
-- psql -v users=users (or profiles).
\set ON_ERROR_STOP 1
alter table public.:users add column use_unified_webhook boolean default false;
create index idx_users_unified_webhook on public.:users (use_unified_webhook)
    where use_unified_webhook;

create table public.webhook_metrics (
    id bigserial primary key,
    webhook_name text not null,
    user_id uuid references public.:users (id),
    agent_type text,
    started_at timestamptz not null default now(),
    completed_at timestamptz,
    duration_ms integer,
    status text not null check (status in ('success', 'error', 'timeout')),
    error_message text,
    request_id text,
    created_at timestamptz not null default now()
);
create index idx_webhook_metrics_name on public.webhook_metrics (webhook_name, created_at desc);
create index idx_webhook_metrics_user on public.webhook_metrics (user_id, created_at desc);
create index idx_webhook_metrics_status on public.webhook_metrics (status, created_at desc);

create table public.migration_status (
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
create table public.migration_rollbacks (
    id serial primary key,
    phase text,
    reason text,
    error_rate decimal(5, 2),
    latency_p95 integer,
    user_complaints integer,
    rolled_back_at timestamptz default now(),
    rolled_back_by text
);
insert into public.migration_status (phase, percentage) values ('week4', 0);

-- The draw: everybody off, then a tenth at random. A new call throws the first tenth out.
select set_config('canaryd_test.users', :'users', false);
do $do$
declare
    users text := current_setting('canaryd_test.users');
begin
    execute format($f$
        create function public.assign_users_to_unified_webhook(target_percentage integer)
        returns table (assigned_count bigint, total_count bigint)
        language plpgsql security definer as $body$
        declare
            everybody bigint;
            wanted bigint;
        begin
            select count(*) into everybody from public.%1$I;
            wanted := everybody * target_percentage / 100;
            update public.%1$I set use_unified_webhook = false;
            update public.%1$I set use_unified_webhook = true
             where id in (select id from public.%1$I order by random() limit wanted);
            return query select wanted, everybody;
        end
        $body$ $f$, users);
    execute format($f$
        create function public.get_webhook_route(p_user_id uuid) returns text
        language plpgsql stable security definer as $body$
        declare
            unified boolean;
        begin
            select use_unified_webhook into unified from public.%1$I where id = p_user_id;
            if unified then
                return 'wa-webhook-unified';
            end if;
            return 'legacy';
        end
        $body$ $f$, users);
end
$do$;

create function public.log_webhook_metric(
    p_webhook_name text, p_user_id uuid, p_agent_type text, p_started_at timestamptz,
    p_completed_at timestamptz, p_status text, p_error_message text default null,
    p_request_id text default null)
returns void language plpgsql security definer as $$
begin
    insert into public.webhook_metrics (webhook_name, user_id, agent_type, started_at, completed_at,
        duration_ms, status, error_message, request_id)
    values (p_webhook_name, p_user_id, p_agent_type, p_started_at, p_completed_at,
        extract(epoch from p_completed_at - p_started_at) * 1000, p_status, p_error_message,
        p_request_id);
end
$$;

alter table public.webhook_metrics enable row level security;
alter table public.migration_status enable row level security;
alter table public.migration_rollbacks enable row level security;
create policy service_all on public.webhook_metrics for all to service_role using (true);
create policy service_all on public.migration_status for all to service_role using (true);
create policy service_all on public.migration_rollbacks for all to service_role using (true);
grant all on public.webhook_metrics, public.migration_status, public.migration_rollbacks
    to service_role;
grant usage on all sequences in schema public to service_role;
grant execute on function public.assign_users_to_unified_webhook(integer) to service_role;
grant execute on function public.get_webhook_route(uuid) to anon, authenticated;
grant execute on function public.log_webhook_metric(text, uuid, text, timestamptz, timestamptz,
    text, text, text) to service_role;
