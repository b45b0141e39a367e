-- The plan's twelve monitoring queries against the tables as they are, for the last day. They run
-- with their owner's rights: whoever may read a view needs no right on the tables, nor a policy.
--
-- Percentiles are exact: the smallest duration that so many requests did not exceed. They come from
-- how often each duration was seen, which is quicker than sorting the rows.
create or replace view canaryd.last_day as
select webhook_name, agent_type, status, duration_ms, user_id, error_message, request_id,
       created_at, webhook_name = 'wa-webhook-unified' as unified,
       status in ('error', 'timeout') as failed
  from public.webhook_metrics
 where created_at > now() - interval '1 day'
   and webhook_name in ('wa-webhook-unified', 'wa-webhook-ai-agents', 'wa-webhook-jobs',
                        'wa-webhook-marketplace', 'wa-webhook-property');

-- 1
create or replace view canaryd.traffic_distribution as
select webhook_name, count(*) as requests,
       round(100.0 * count(*) / sum(count(*)) over (), 2) as percent,
       max(created_at) as last_request
  from canaryd.last_day group by webhook_name order by requests desc;

-- 2
create or replace view canaryd.error_rates as
select webhook_name, count(*) as requests,
       count(*) filter (where status = 'error') as errors,
       count(*) filter (where status = 'timeout') as timeouts,
       round(100.0 * count(*) filter (where failed) / count(*), 2) as error_rate_percent
  from canaryd.last_day group by webhook_name order by error_rate_percent desc;

-- 3. A request that is still running has no duration and is not counted.
create or replace view canaryd.response_times as
with counted as (
    select webhook_name, duration_ms, count(*) as n
      from canaryd.last_day where duration_ms is not null group by webhook_name, duration_ms
), ranked as (
    select *, sum(n) over (partition by webhook_name order by duration_ms) as upto,
           sum(n) over (partition by webhook_name) as requests
      from counted
)
select webhook_name, requests,
       min(duration_ms) filter (where upto >= 0.5 * requests) as p50_ms,
       min(duration_ms) filter (where upto >= 0.95 * requests) as p95_ms,
       min(duration_ms) filter (where upto >= 0.99 * requests) as p99_ms,
       max(duration_ms) as slowest_ms
  from ranked group by webhook_name, requests order by webhook_name;

-- 4. An agent that nobody used is listed with nothing.
create or replace view canaryd.agent_usage as
select agent.agent_type, coalesce(unified, 0) as unified_requests,
       coalesce(legacy, 0) as legacy_requests, unified_error_percent, legacy_error_percent,
       last_request
  from (select unnest(array['farmer', 'insurance', 'jobs', 'marketplace', 'property', 'rides',
                            'support', 'waiter'])
        union select distinct agent_type from canaryd.last_day where agent_type is not null)
       agent (agent_type)
  left join (
    select agent_type, count(*) filter (where d.unified) as unified,
           count(*) filter (where not d.unified) as legacy,
           round(100.0 * count(*) filter (where d.unified and failed)
                 / nullif(count(*) filter (where d.unified), 0), 2) as unified_error_percent,
           round(100.0 * count(*) filter (where not d.unified and failed)
                 / nullif(count(*) filter (where not d.unified), 0), 2) as legacy_error_percent,
           max(created_at) as last_request
      from canaryd.last_day d group by agent_type) seen using (agent_type)
 order by agent.agent_type;

-- 5
create or replace view canaryd.success_rates as
select date_trunc('hour', created_at) as hour, unified, count(*) as requests,
       round(100.0 * count(*) filter (where not failed) / count(*), 2) as success_rate_percent
  from canaryd.last_day group by 1, 2 order by 1 desc, 2;

-- 7
create or replace view canaryd.unified_vs_legacy as
with counted as (
    select unified, duration_ms, count(*) as n, count(*) filter (where failed) as failures
      from canaryd.last_day group by unified, duration_ms
), ranked as (
    select *, sum(n) filter (where duration_ms is not null) over sorted as upto,
           sum(n) filter (where duration_ms is not null) over (partition by unified) as measured
      from counted window sorted as (partition by unified order by duration_ms)
)
select case when unified then 'unified' else 'legacy' end as side,
       sum(n)::bigint as requests, round(100.0 * sum(failures) / sum(n), 2) as error_rate_percent,
       min(duration_ms) filter (where upto >= 0.5 * measured) as p50_ms,
       min(duration_ms) filter (where upto >= 0.95 * measured) as p95_ms,
       min(duration_ms) filter (where upto >= 0.99 * measured) as p99_ms
  from ranked group by unified order by unified desc;

-- 8. With at most two requests to look at.
create or replace view canaryd.top_errors as
select webhook_name, coalesce(error_message, status) as error, count(*) as times,
       count(distinct user_id) as users, max(created_at) as last_time,
       (array_agg(request_id order by created_at desc) filter (where request_id is not null))[1:2]
           as request_ids
  from canaryd.last_day where failed group by 1, 2 order by times desc limit 20;

-- 9
create or replace view canaryd.slow_requests as
select created_at, webhook_name, agent_type, duration_ms, status, user_id, request_id
  from canaryd.last_day where duration_ms > 2000 order by duration_ms desc limit 50;

-- 10
create or replace view canaryd.migration_progress as
select m.phase, m.percentage, m.total_users, m.unified_users, m.started_at, m.completed_at,
       m.success_criteria_met, m.notes,
       coalesce(m.completed_at, now()) - m.started_at as took
  from public.migration_status m order by m.id;

-- 11
create or replace view canaryd.rollback_history as
select rolled_back_at, phase, reason, error_rate, latency_p95, user_complaints, rolled_back_by
  from public.migration_rollbacks order by rolled_back_at desc, id desc;

-- 6. `flag` is what programs see that read the column, `decided_percent` what the route says.
do $$
begin
    execute format($v$
        create or replace view canaryd.user_distribution as
        select u.flag, u.users, round(100.0 * u.users / sum(u.users) over (), 2) as percent,
               round(case when u.flag then r.weight else 10000 - r.weight end / 100.0, 2)
                   as decided_percent
          from (select coalesce(use_unified_webhook, false), count(*) from %s group by 1) u
               (flag, users)
          left join canaryd.route r on r.name = 'unified-webhook'
         order by 1 desc $v$, canaryd.user_table());
end
$$;

-- 12. One line for each thing that should hold now; `fine` is null where nothing was seen.
create or replace view canaryd.health_check as
with recent as (
    select count(*) as requests, count(*) filter (where failed) as failures,
           count(*) filter (where duration_ms > 2000) as slow,
           count(*) filter (where duration_ms is not null) as measured, max(created_at) as newest
      from canaryd.last_day where unified and created_at > now() - interval '15 min'
), route as (
    select weight, valid_until, by, reason, changed_at
      from canaryd.route where name = 'unified-webhook'
)
select 'error rate below 1 %' as what, failures < 0.01 * requests as fine,
       format('%s of %s requests failed in 15 min', failures, requests) as seen
  from recent where requests > 0
union all
select 'error rate below 1 %', null, 'no request in 15 min' from recent where requests = 0
union all
select '95 % within 2 s', case when measured > 0 then slow <= 0.05 * measured end,
       format('%s of %s answers took longer', slow, measured) from recent
union all
select 'the route is served', valid_until is null or valid_until > now(),
       format('%s %% since %s by %s%s', trim_scale(weight / 100.0), changed_at,
              coalesce(nullif(by, ''), 'nobody'), coalesce(', ' || nullif(reason, ''), ''))
  from route
union all
select 'no rollback today', not exists (select from public.migration_rollbacks
                                         where rolled_back_at > now() - interval '1 day'),
       (select count(*)::text || ' in all' from public.migration_rollbacks);

do $$
begin
    if to_regrole('service_role') is not null then
        grant select on canaryd.traffic_distribution, canaryd.error_rates, canaryd.response_times,
            canaryd.agent_usage, canaryd.success_rates, canaryd.user_distribution,
            canaryd.unified_vs_legacy, canaryd.top_errors, canaryd.slow_requests,
            canaryd.migration_progress, canaryd.rollback_history, canaryd.health_check
            to service_role;
    end if;
end
$$;
insert into canaryd.applied (file) values ('0004_monitoring.sql') on conflict do nothing;
