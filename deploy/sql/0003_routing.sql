-- get_webhook_route() and assign_users_to_unified_webhook() keep their names, signatures and
-- answers, and ask the route row. Users who were drawn before are taken over.

create table if not exists canaryd.replaced (
    signature text primary key,
    definition text not null
);
comment on table canaryd.replaced is 'The user''s own functions as they were, for down.sql.';

do $$
declare
    it regprocedure;
    flagged bigint;
    everybody bigint;
    share integer;
begin
    -- Once: later, these are ours.
    if exists (select from canaryd.applied where file = '0003_routing.sql') then
        return;
    end if;
    foreach it in array array[to_regprocedure('public.get_webhook_route(uuid)'),
        to_regprocedure('public.assign_users_to_unified_webhook(integer)')] loop
        continue when it is null;
        insert into canaryd.replaced values (it::text, pg_get_functiondef(it))
            on conflict do nothing;
    end loop;
    if exists (select from canaryd.route where name = 'unified-webhook') then
        return;
    end if;
    -- Whoever has the flag is on the canary today and stays there, first in line, until a rollback.
    -- At the weight that they are of all users they are exactly the canary; above it others join by
    -- their bucket until the whole is the weight. So nobody flips twice on the way to 100 %. A
    -- share near a whole percent is that percent: a draw of 10 % has become 9.98 % since.
    execute format('select count(*) filter (where use_unified_webhook), count(*) from %s',
                   canaryd.user_table()) into flagged, everybody;
    if flagged = 0 then
        insert into canaryd.route (name, weight, revision) values ('unified-webhook', 0, 0);
        return;
    end if;
    share := case when flagged = everybody then 10000
                  when flagged * 200 < everybody then greatest(1, flagged * 10000 / everybody)
                  else least(99, greatest(1, round(flagged * 100.0 / everybody))) * 100 end;
    if share < 10000 then
        execute format('insert into canaryd.drawn select ''unified-webhook'', id from %s '
                       'where use_unified_webhook', canaryd.user_table());
    end if;
    insert into canaryd.route (name, weight, revision, by, reason, drawn)
    values ('unified-webhook', share, 1, 'taken over',
            format('%s of %s users had the flag before canaryd came', flagged, everybody),
            nullif(share, 10000));
end
$$;

-- The edge functions ask this for every message, so it reads one small row and hashes. A user who
-- is not in the table yet gets the answer that they will have.
create or replace function public.get_webhook_route(p_user_id uuid) returns text
language plpgsql stable parallel safe security definer set search_path = pg_catalog, pg_temp as $$
declare
    below integer;
    lapses timestamptz;
    has_pins boolean;
    first_in_line integer;
begin
    select rest_weight, valid_until, pinned, nullif(drawn_weight, 0)
      into below, lapses, has_pins, first_in_line
      from canaryd.route where name = 'unified-webhook';
    if has_pins or first_in_line is not null then
        return case when canaryd.on_canary('unified-webhook', p_user_id::text)
                    then 'wa-webhook-unified' else 'legacy' end;
    end if;
    if below > 0 and (lapses is null or lapses > clock_timestamp())
       and (below = 10000 and p_user_id is not null
            or canaryd.bucket('unified-webhook', p_user_id) < below) then
        return 'wa-webhook-unified';
    end if;
    return 'legacy';
end
$$;

-- The same for SQL that wants it inlined into its own plan: select route from webhook_route($1).
-- It runs with the caller's rights, so that it is for the service's own connections.
create or replace function public.webhook_route(p_user_id uuid) returns table (route text)
language sql stable parallel safe as $$
    select case when (
        select case
                   when r.pinned or r.drawn_weight > 0
                       then canaryd.on_canary('unified-webhook', p_user_id::text)
                   when r.rest_weight = 0 or r.valid_until <= clock_timestamp() then false
                   else r.rest_weight = 10000 and p_user_id is not null
                        or canaryd.bucket('unified-webhook', p_user_id) < r.rest_weight
               end
          from canaryd.route r where r.name = 'unified-webhook'
    ) then 'wa-webhook-unified' else 'legacy' end
$$;

-- Sticky and monotone: 10 % stay when it becomes 50 %, and lowering sends only the excess back.
-- While canaryd steers the route a lower number is an operator's wish, and a higher one is refused.
create or replace function public.assign_users_to_unified_webhook(target_percentage integer)
returns table (assigned_count bigint, total_count bigint)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    wanted integer := target_percentage * 100;
    r canaryd.route;
    -- Without canaryd nobody else moves the flags. A table past 16 MB would take too long here.
    here boolean;
    flags_done boolean := false;
begin
    if wanted is null or wanted not between 0 and 10000 then
        raise exception 'target_percentage is a number from 0 to 100, not %',
            coalesce(target_percentage::text, 'null') using errcode = 'invalid_parameter_value';
    end if;
    select * into r from canaryd.route where name = 'unified-webhook' for no key update;
    if r.managed and wanted > r.weight then
        raise exception 'canaryd steers unified-webhook, which is at % %%: % %% is refused',
            trim_scale(r.weight / 100.0), target_percentage
            using hint = case when r.weight = 0
                then 'canaryctl start unified-webhook begins a rollout; then '
                     'canaryctl promote unified-webhook raises it.'
                else 'canaryctl promote unified-webhook raises it.' end;
    end if;
    if r.name is null then
        insert into canaryd.route (name, weight, revision, by, reason)
        values ('unified-webhook', wanted, 1, canaryd.who(),
                format('assign_users_to_unified_webhook(%s)', target_percentage));
    elsif wanted <> r.weight then
        update canaryd.route
           set weight = wanted, revision = revision + 1, by = canaryd.who(),
               reason = format('assign_users_to_unified_webhook(%s)', target_percentage)
         where name = 'unified-webhook';
    end if;
    here := not coalesce(r.managed, false)
            and pg_relation_size(canaryd.user_table()) <= 16 * 1024 * 1024;
    for batch in 1..300 loop  -- bounded: a row that somebody has locked is never done
        exit when flags_done or not here;
        select done into flags_done from canaryd.follow_flags('unified-webhook', 256);
    end loop;
    execute format('select count(*) from %s', canaryd.user_table()) into total_count;
    if flags_done then
        execute format('select count(*) from %s where use_unified_webhook', canaryd.user_table())
            into assigned_count;
    else
        assigned_count := round(total_count * wanted / 10000.0);
        raise notice 'The function answers so when this commits; the flags follow in batches%',
            case when r.managed then '.' else ': call canaryd.follow(''unified-webhook'')' end;
    end if;
    return next;
end
$$;

-- Rights: the answer is for everybody, moving users is the service's.
revoke all on function public.get_webhook_route(uuid), public.webhook_route(uuid),
    public.assign_users_to_unified_webhook(integer) from public;
do $$
declare
    it text;
    owner_of text;
begin
    foreach it in array array['anon', 'authenticated', 'service_role'] loop
        continue when to_regrole(it) is null;
        execute format('grant execute on function public.get_webhook_route(uuid) to %I', it);
        if it <> 'service_role' then
            execute format('revoke all on function public.webhook_route(uuid), '
                           'public.assign_users_to_unified_webhook(integer) from %I', it);
            continue;
        end if;
        execute format('grant execute on function public.webhook_route(uuid), '
                       'public.assign_users_to_unified_webhook(integer), '
                       'canaryd.rollback(text, text), canaryd.bucket(text, uuid), '
                       'canaryd.on_canary(text, text, boolean) to %I', it);
        execute format('grant usage on schema canaryd to %I', it);
        execute format('grant select on canaryd.route to %I', it);
    end loop;
    -- Functions that the user's own role owns go on with that role's rights.
    for owner_of in
        select distinct pg_get_userbyid(proowner) from pg_proc
         where oid in (to_regprocedure('public.get_webhook_route(uuid)'),
                       to_regprocedure('public.assign_users_to_unified_webhook(integer)'))
           and proowner <> (select nspowner from pg_namespace where nspname = 'canaryd')
    loop
        execute format('grant usage on schema canaryd to %I', owner_of);
        execute format('grant select, insert, update on canaryd.route to %I', owner_of);
        execute format('grant execute on all functions in schema canaryd to %I', owner_of);
    end loop;
end
$$;
insert into canaryd.applied (file) values ('0003_routing.sql') on conflict do nothing;
