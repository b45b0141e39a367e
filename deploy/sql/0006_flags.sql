-- Programs that read users.use_unified_webhook: the flags follow the route in small batches, by the
-- same predicate, changed rows only, newest decision first.

create table if not exists canaryd.flags (
    name text primary key,
    decided bigint not null default -1,       -- of the route; another one starts over
    pass integer not null default 1,
    at_block bigint not null default 0,       -- from here to to_block
    to_block bigint not null default 0,
    quarter integer not null default 0,       -- of the rows there, the next one
    of_blocks bigint not null default 0,
    changed bigint not null default 0,        -- rows since this decision
    changed_in_pass bigint not null default 0,
    began_at timestamptz,
    done_at timestamptz
) with (fillfactor = 40, autovacuum_vacuum_threshold = 50, autovacuum_vacuum_scale_factor = 0);
comment on table canaryd.flags is 'How far the flag column has followed the route.';

-- `canaryd.acting`, for this transaction only, tells our own writes from an operator's.
create or replace function canaryd.act(p_on boolean) returns void
language sql set search_path = pg_catalog, pg_temp as $$
    select set_config('canaryd.acting', case when p_on then 'on' else 'off' end, true)
$$;

-- Whether the user `u` is among the first `p_weight`; only where it depends, by a hash.
create or replace function canaryd.share_sql(p_name text, p_weight integer) returns text
language sql immutable set search_path = pg_catalog, pg_temp as $$
    select case p_weight when 0 then 'false' when 10000 then 'true'
                else format('canaryd.bucket(%L, u.id) < %s', p_name, p_weight) end
$$;

-- One short batch: a quarter of the rows in `p_blocks` blocks of the table by physical order, which
-- with 64 takes a few milliseconds and locks only the rows that change. What it leaves behind has
-- room for the next quarter, so that the table hardly grows. Rows that somebody has locked are left
-- for the next pass, so that it waits for nobody. The last pass is one that found nothing to change
-- and was not the first, since rows may move behind the reading point.
-- Call it until `done`; each call is a transaction of its own. `changed` is of this call.
create or replace function canaryd.follow_flags(
    p_name text, p_blocks integer default 64, out done boolean, out changed bigint,
    out at_block bigint, out of_blocks bigint, out revision bigint)
language plpgsql security definer
set search_path = pg_catalog, pg_temp set lock_timeout = '1s' as $$
declare
    r canaryd.route;
    f canaryd.flags;
    users regclass := canaryd.user_table();
    wrong tid[];
    wants_on tid[];
begin
    changed := 0;
    if p_name is distinct from 'unified-webhook' then
        raise exception 'the flags follow unified-webhook, not %', coalesce(p_name, 'null')
            using errcode = 'invalid_parameter_value';
    end if;
    if p_blocks is null or p_blocks not between 1 and 100000 then
        raise exception 'a batch has 1 to 100000 blocks' using errcode = 'invalid_parameter_value';
    end if;
    insert into canaryd.flags (name) values (p_name) on conflict do nothing;
    select * into f from canaryd.flags where name = p_name for update skip locked;
    if not found then  -- another one is at it
        select false, 0, g.at_block, g.of_blocks, g.decided
          from canaryd.flags g where g.name = p_name
          into done, changed, at_block, of_blocks, revision;
        return;
    end if;
    select * into r from canaryd.route where name = p_name;
    if not found then
        r.name := p_name; r.decided := 0; r.rest_weight := 0; r.drawn_weight := 0;
    end if;
    if f.decided <> r.decided then
        f.decided := r.decided; f.pass := 1; f.at_block := 0; f.quarter := 0; f.changed := 0;
        f.changed_in_pass := 0; f.began_at := clock_timestamp(); f.done_at := null;
    end if;
    revision := f.decided;
    if f.done_at is not null then
        done := true; at_block := f.at_block; of_blocks := f.of_blocks;
        return;
    end if;

    if f.quarter = 0 then
        f.to_block := f.at_block + p_blocks;
    end if;
    execute format($q$
        with u as materialized (
            select u.ctid as at, u.use_unified_webhook as flag,
                   coalesce(
                       case when (select pinned from canaryd.route where name = %1$L)
                            then (select p.side = 'canary' from canaryd.pins p
                                   where p.name = %1$L and p.user_id = u.id::text) end,
                       case when %3$L and exists (select from canaryd.drawn d
                                                   where d.name = %1$L and d.user_id = u.id)
                            then %4$s else %5$s end) as wanted
              from %2$s u
             where u.ctid >= %6$L and u.ctid < %7$L and uuid_hash(u.id) & 3 = %8$s)
        select array_agg(at), array_agg(at) filter (where wanted)
          from u where flag is distinct from wanted $q$,
        p_name, users, r.drawn is not null, canaryd.share_sql(p_name, r.drawn_weight),
        canaryd.share_sql(p_name, r.rest_weight), format('(%s,0)', f.at_block),
        format('(%s,0)', f.to_block), f.quarter)
      into wrong, wants_on;
    if wrong is not null then
        perform canaryd.act(true);
        execute format($q$ update %1$s u set use_unified_webhook = u.ctid = any ($2)
             where u.ctid = any (array(select v.ctid from %1$s v where v.ctid = any ($1)
                                          for no key update skip locked)) $q$, users)
          using wrong, coalesce(wants_on, '{}');
        get diagnostics changed = row_count;
        perform canaryd.act(false);
    end if;

    f.changed := f.changed + changed;
    f.changed_in_pass := f.changed_in_pass + coalesce(cardinality(wrong), 0);
    f.quarter := (f.quarter + 1) % 4;
    if f.quarter = 0 then
        f.at_block := f.to_block;
    end if;
    f.of_blocks := pg_relation_size(users) / current_setting('block_size')::bigint;
    if f.at_block >= f.of_blocks then
        f.at_block := f.of_blocks;
        if f.changed_in_pass = 0 and f.pass > 1 then
            f.done_at := clock_timestamp();
        end if;
    end if;
    done := f.done_at is not null; at_block := f.at_block; of_blocks := f.of_blocks;
    if not done and f.at_block = f.of_blocks then
        f.pass := f.pass + 1; f.at_block := 0; f.quarter := 0; f.changed_in_pass := 0;
    end if;
    update canaryd.flags g
       set (decided, pass, at_block, to_block, quarter, of_blocks, changed, changed_in_pass,
            began_at, done_at) =
           (f.decided, f.pass, f.at_block, f.to_block, f.quarter, f.of_blocks, f.changed,
            f.changed_in_pass, f.began_at, f.done_at)
     where g.name = p_name;
end
$$;

-- For people without a daemon: call canaryd.follow('unified-webhook'). It pauses nine times as long
-- as a batch took, and no shorter than p_pause seconds, so that look-ups hardly feel it; with 0 never.
create or replace procedure canaryd.follow(p_name text, p_pause double precision default 0.01)
language plpgsql as $$
declare
    batch record;
    began timestamptz;
begin
    loop
        began := clock_timestamp();
        select * into batch from canaryd.follow_flags(p_name);
        if not batch.done then
            -- What a crash of the server takes is done again. The last commit waits for the disk,
            -- and so for all before it.
            perform set_config('synchronous_commit', 'off', true);
        end if;
        commit;
        exit when batch.done;
        if p_pause > 0 then
            perform pg_sleep(
                greatest(p_pause, 9 * extract(epoch from clock_timestamp() - began)));
        end if;
    end loop;
end
$$;

-- New users get their flag by the same predicate.
create or replace function canaryd.new_user() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    new.use_unified_webhook := canaryd.on_canary('unified-webhook', new.id::text, false);
    return new;
end
$$;

-- A pin reaches the column at once, or when the row's lock is gone: it holds the route meanwhile.
create or replace function canaryd.pin_changes() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    of_old text;
    of_new text;
    it text;
    should boolean;
    waits boolean;
begin
    if tg_op <> 'INSERT' and old.name = 'unified-webhook' then
        of_old := old.user_id;
    end if;
    if tg_op <> 'DELETE' and new.name = 'unified-webhook' then
        of_new := new.user_id;
    end if;
    foreach it in array array[of_old, of_new] loop
        continue when it is null or it !~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$';
        perform canaryd.act(true);
        should := canaryd.on_canary('unified-webhook', it, false);
        execute format('update %1$s set use_unified_webhook = $1 where ctid = '
                       '(select ctid from %1$s where id = $2 for no key update skip locked) '
                       'and use_unified_webhook is distinct from $1',
                       canaryd.user_table()) using should, it::uuid;
        perform canaryd.act(false);
        execute format('select exists (select from %s where id = $2 '
                       'and use_unified_webhook is distinct from $1)',
                       canaryd.user_table()) into waits using should, it::uuid;
        if waits then
            update canaryd.flags set decided = -1 where name = 'unified-webhook';
        end if;
    end loop;
    return null;
end
$$;

do $$
begin
    perform set_config('lock_timeout', '5s', true);
    execute format('create or replace trigger canaryd_new_user before insert on %s '
                   'for each row execute function canaryd.new_user()', canaryd.user_table());
    -- Made before flags followed by quarters. After the trigger, since whoever moves flags has the
    -- table of users first.
    if not exists (select from pg_attribute
                    where attrelid = 'canaryd.flags'::regclass and attname = 'quarter') then
        alter table canaryd.flags add column to_block bigint not null default 0,
                                  add column quarter integer not null default 0;
    end if;
end
$$;
-- Runs after canaryd_pinned, whose `pinned` it needs: triggers of one row go by their names.
create or replace trigger canaryd_pins_flag after insert or update or delete on canaryd.pins
    for each row execute function canaryd.pin_changes();

revoke all on all functions in schema canaryd from public;
revoke all on all procedures in schema canaryd from public;
-- assign_users_to_unified_webhook() calls it with its owner's rights.
do $$
begin
    execute format('grant execute on function canaryd.follow_flags(text, integer) to %I',
                   (select pg_get_userbyid(proowner) from pg_proc where oid =
                    'public.assign_users_to_unified_webhook(integer)'::regprocedure));
end
$$;
insert into canaryd.applied (file) values ('0006_flags.sql') on conflict do nothing;
