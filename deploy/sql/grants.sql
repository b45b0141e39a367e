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

-- The store, where 0005_store.sql was applied. That file comes before this one and so before the
-- login.
do $$
declare
    it text;
begin
    for it in select format('on function %s', p.oid::regprocedure)
                from pg_proc p
               where p.pronamespace = 'canaryd'::regnamespace
                 and p.proname in ('store_version', 'take_lease', 'renew_lease', 'release_lease',
                                   'commit', 'settle', 'complete_rollback', 'order_route_fenced')
    loop
        execute format('grant execute %s to canaryd', it);
    end loop;
    foreach it in array array['rollout', 'journal', 'outbox', 'lease'] loop
        continue when to_regclass('canaryd.' || it) is null;
        execute format('grant select on canaryd.%I to canaryd', it);
    end loop;
end
$$;

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
insert into canaryd.applied (file) values ('grants.sql') on conflict do nothing;
