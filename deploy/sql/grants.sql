-- The daemon's login: no superuser, owner of nothing, and nothing but these rights. Apply it after
-- the other files, and again after each of them that changed. Then give it a password:
--   psql URL -c '\password canaryd'

do $$
begin
    if to_regrole('canaryd') is null then
        create role canaryd login;
    end if;
end
$$;
-- Poolers hand one session to many clients, so that limits belong to the role and not to a session.
alter role canaryd set statement_timeout = '10s';
alter role canaryd set lock_timeout = '1s';
alter role canaryd set idle_in_transaction_session_timeout = '5s';

-- The route, pins and flags: read, and changed by functions that keep the rules.
grant usage on schema canaryd to canaryd;
grant select on canaryd.route, canaryd.pins, canaryd.flags, canaryd.emergency, canaryd.applied
    to canaryd;
grant execute on function
    canaryd.order_route(text, integer, bigint, timestamptz, text, text, text),
    canaryd.served(text), canaryd.rollback(text, text), canaryd.user_table(),
    canaryd.pin(text, text, text, text, text), canaryd.unpin(text, text),
    canaryd.bucket(text, text), canaryd.bucket(text, uuid), canaryd.user_text(text),
    canaryd.on_canary(text, text, boolean), canaryd.follow_flags(text, integer),
    canaryd.record_rollback(text, text, numeric, integer, integer, text, timestamptz),
    canaryd.record_phase(text, integer, timestamptz, timestamptz, boolean, text)
    to canaryd;

-- The reports.
grant select on canaryd.traffic_distribution, canaryd.error_rates, canaryd.response_times,
    canaryd.agent_usage, canaryd.success_rates, canaryd.user_distribution,
    canaryd.unified_vs_legacy, canaryd.top_errors, canaryd.slow_requests,
    canaryd.migration_progress, canaryd.rollback_history, canaryd.health_check to canaryd;

-- The metrics. A right alone shows no row of a table under row level security, which would look
-- like silence: hence a policy for reading.
grant usage on schema public to canaryd;
do $$
declare
    it text;
begin
    foreach it in array array['webhook_metrics', 'migration_status', 'migration_rollbacks',
                              'webhook_dlq'] loop
        continue when to_regclass('public.' || it) is null;
        execute format('grant select on public.%I to canaryd', it);
        if not exists (select from pg_policy where polrelid = ('public.' || it)::regclass
                                               and polname = 'canaryd_reads') then
            execute format('create policy canaryd_reads on public.%I for select to canaryd '
                           'using (true)', it);
        end if;
    end loop;
end
$$;
grant execute on function public.get_webhook_route(uuid), public.webhook_route(uuid) to canaryd;

-- The record, where PostgreSQL keeps it (0005_store.sql): read, and written by functions that ask
-- for the lease first.
do $$
begin
    if to_regclass('canaryd.rollout') is null then
        return;
    end if;
    grant select on canaryd.rollout, canaryd.journal, canaryd.outbox, canaryd.lease to canaryd;
    grant execute on function canaryd.store_version(), canaryd.take_lease(text, text, interval),
        canaryd.renew_lease(bigint, text, interval), canaryd.release_lease(bigint, text),
        canaryd.commit(jsonb), canaryd.settle(text, text), canaryd.record_decided(jsonb, text),
        canaryd.fault_began(text, timestamptz, timestamptz, timestamptz, double precision, integer,
                            double precision),
        canaryd.complete_rollback(integer, text, timestamptz, timestamptz),
        canaryd.order_route_fenced(bigint, text, text, integer, bigint, timestamptz, text, text,
                                   text)
        to canaryd;
end
$$;

insert into canaryd.applied (file) values ('grants.sql') on conflict do nothing;
