-- Takes away what canaryd added: its schema with the route, the triggers, webhook_route(). The
-- user's columns, tables and rows stay, and their two functions are again as they were; where they
-- were never there, get_webhook_route() reads the flag, so that callers go on.
-- Where PostgreSQL is canaryd's store too, its record goes with it, journal and all.
--   psql URL -v ON_ERROR_STOP=1 --single-transaction -f down.sql

do $$
declare
    running text;
begin
    -- With its record gone, a daemon would neither raise nor lower what is left of a rollout.
    if to_regclass('canaryd.rollout') is null then
        return;
    end if;
    select string_agg(id, ', ' order by id) into running
      from canaryd.rollout where status not in ('rolled_back', 'finished');
    if running is not null then
        raise exception 'the record is in this database, and % is not over', running
            using hint = 'First: canaryctl rollback or canaryctl finish, each with the id. To keep '
                         'the journal: pg_dump -n canaryd.';
    end if;
end
$$;

do $$
declare
    r canaryd.route;
begin
    -- From here on the flags decide. If they said something else, users would be moved by this.
    select * into r from canaryd.route where name = 'unified-webhook';
    if not exists (select from canaryd.flags
                    where name = 'unified-webhook' and decided = r.decided
                      and done_at is not null) then
        raise exception
            'the flags do not follow the route yet, and would move users when it is gone'
            using hint = 'First: call canaryd.follow(''unified-webhook'');';
    end if;
end
$$;

do $$
declare
    it record;
begin
    for it in select * from canaryd.replaced loop
        execute it.definition;
    end loop;
    if not exists (select from canaryd.replaced where signature like '%get_webhook_route%') then
        execute format($f$
            create or replace function public.get_webhook_route(p_user_id uuid) returns text
            language sql stable security definer set search_path = pg_catalog, pg_temp as $body$
                select case when exists (select from public.%I where id = p_user_id
                                                                 and use_unified_webhook)
                            then 'wa-webhook-unified' else 'legacy' end
            $body$ $f$, (select relname from pg_class where oid = canaryd.user_table()));
    end if;
    if not exists (select from canaryd.replaced where signature like '%assign_users%') then
        drop function if exists public.assign_users_to_unified_webhook(integer);
    end if;
    drop function if exists public.webhook_route(uuid);
    if to_regrole('canaryd') is not null then
        for it in select polrelid::regclass as relation from pg_policy
                   where polname = 'canaryd_reads' loop
            execute format('drop policy canaryd_reads on %s', it.relation);
            execute format('revoke select on %s from canaryd', it.relation);
        end loop;
        revoke usage on schema public from canaryd;
        revoke all on function public.get_webhook_route(uuid) from canaryd;
    end if;
end
$$;

-- With it go the triggers on the user's tables, whose functions are in it.
drop schema canaryd cascade;
