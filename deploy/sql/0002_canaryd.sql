-- The route: one small row a rollout decides for all of its users.

-- A user's name as it is hashed and pinned: a UUID in lower case, anything else as it is.
create or replace function canaryd.user_text(id text) returns text
language sql immutable parallel safe as $$
    select case when id ~ '^[0-9A-Fa-f]{8}-([0-9A-Fa-f]{4}-){3}[0-9A-Fa-f]{12}$'
                then lower(id) else id end
$$;

-- 0 to 9999: the first 8 bytes of sha256(salt || ':' || id), big-endian and unsigned, mod 10000.
-- The same as bucket_of() in daemon/routing.cpp. PostgreSQL has no unsigned integer to count with,
-- but xid8 reads one in hexadecimal and prints it in decimal: its last four digits are the
-- remainder. Backslashes are doubled since text::bytea reads escapes. Databases are in UTF-8.
create or replace function canaryd.bucket(salt text, id text) returns integer
language sql immutable parallel safe as $$
    select right(('0x' || encode(substr(sha256(replace(
        salt || ':' || canaryd.user_text(id), '\', '\\')::bytea), 1, 8), 'hex'))::xid8::text,
        4)::integer
$$;
create or replace function canaryd.bucket(salt text, id uuid) returns integer
language sql immutable parallel safe as $$
    select right(('0x' || encode(substr(sha256(replace(
        salt || ':' || id::text, '\', '\\')::bytea), 1, 8), 'hex'))::xid8::text, 4)::integer
$$;

-- Weights are in basis points of users: 1000 is 10 %.
create table if not exists canaryd.route (
    name text primary key check (name <> ''),           -- the policy's name, and the salt
    weight integer not null check (weight between 0 and 10000),
    revision bigint not null check (revision >= 0),     -- grows with each change
    valid_until timestamptz,                            -- later than this: nobody
    by text not null default '',
    reason text not null default '',
    changed_at timestamptz not null default clock_timestamp(),
    readers text not null default 'both' check (readers in ('function', 'column', 'both')),
    managed boolean not null default false,             -- canaryd has ordered here
    pinned boolean not null default false,              -- canaryd.pins has rows of this name
    decided bigint not null default 0,                  -- the revision that last moved anybody
    -- Users of canaryd.drawn are on the canary first. `drawn` is their share; the two weights below
    -- are what their bucket and everybody else's are compared with, so that the whole is `weight`.
    drawn integer check (drawn between 1 and 9999),
    drawn_weight integer not null generated always as (
        case when drawn is null then 0
             when weight >= drawn then 10000
             else weight * 10000 / drawn end) stored,
    rest_weight integer not null generated always as (
        case when drawn is null or weight = 10000 then weight
             when weight <= drawn then 0
             else (weight - drawn) * 10000 / (10000 - drawn) end) stored
) with (fillfactor = 40, autovacuum_vacuum_threshold = 20, autovacuum_vacuum_scale_factor = 0);
comment on table canaryd.route is
    'Who is on the canary: bucket(name, user) < weight. By hand: select canaryd.rollback(''why'').';

create table if not exists canaryd.pins (
    name text not null,
    user_id text not null check (user_id = canaryd.user_text(user_id)),
    side text not null check (side in ('canary', 'legacy')),
    by text not null default '',
    reason text not null default '',
    at timestamptz not null default clock_timestamp(),
    primary key (name, user_id)
);
comment on table canaryd.pins is 'Testers who are on one side whatever the weight is; no evidence.';

create table if not exists canaryd.drawn (
    name text not null,
    user_id uuid not null,
    primary key (name, user_id)
);
comment on table canaryd.drawn is
    'Users who were on the canary before canaryd came: they stay first until a rollback.';

-- The role that somebody acts as, past functions that run with their owner's rights.
create or replace function canaryd.who() returns text
language sql stable set search_path = pg_catalog, pg_temp as $$
    select coalesce(nullif(nullif(current_setting('role', true), 'none'), ''), session_user::text)
$$;

-- A change by hand need not think of revision, by and reason.
create or replace function canaryd.route_changes() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    if tg_op = 'INSERT' then
        new.pinned := exists (select from canaryd.pins where name = new.name);
        new.decided := new.revision;
        return new;
    end if;
    if new.weight is distinct from old.weight then
        if new.revision = old.revision and (new."by", new.reason) = (old."by", old.reason) then
            new."by" := canaryd.who();
            new.reason := 'by hand';
        end if;
        new.revision := greatest(new.revision, old.revision + 1);
        if new.weight = 0 then
            new.drawn := null;  -- a rollback: the next rollout takes users by their bucket alone
        end if;
    end if;
    new.revision := greatest(new.revision, old.revision);
    if (new.weight, new.drawn) is distinct from (old.weight, old.drawn) then
        new.decided := new.revision;
    end if;
    new.changed_at := clock_timestamp();
    return new;
end
$$;
create or replace trigger canaryd_route_changes before insert or update on canaryd.route
    for each row execute function canaryd.route_changes();

create or replace function canaryd.pins_change() returns trigger
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    -- Locked first and read after, so that two changes at once do not miss each other.
    perform from canaryd.route order by name for no key update;
    update canaryd.route r set pinned = not r.pinned
     where r.pinned <> exists (select from canaryd.pins p where p.name = r.name);
    return null;
end
$$;
create or replace trigger canaryd_pinned after insert or update or delete on canaryd.pins
    for each row execute function canaryd.pins_change();
create or replace trigger canaryd_pinned_none after truncate on canaryd.pins
    for each statement execute function canaryd.pins_change();

-- What readers get now. No row: nobody, revision 0, by nobody. In PL/pgSQL, which keeps its plan
-- after a few calls of a session: the daemon asks several times a minute for each rollout.
create or replace function canaryd.served(p_name text)
returns table (weight integer, revision bigint, by text, reason text, lapsed boolean)
language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
begin
    return query
    select case when now.lapsed then 0 else r.weight end, r.revision, r.by, r.reason, now.lapsed
      from canaryd.route r
      cross join lateral (select coalesce(r.valid_until <= clock_timestamp(), false)) now (lapsed)
     where r.name = p_name;
    if not found then
        return query select 0, 0::bigint, '', '', false;
    end if;
end
$$;

-- An order of canaryd. Lowering always takes effect; else only an order newer than the row, whoever
-- wrote it. The revision never goes back: an old order that lowers is a change of its own.
create or replace function canaryd.order_route(
    p_name text, p_weight integer, p_revision bigint, p_valid_until timestamptz, p_by text,
    p_reason text, p_readers text default null)
returns boolean language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into canaryd.route as r (name, weight, revision, valid_until, by, reason, readers,
                                    managed)
    values (p_name, p_weight, p_revision, p_valid_until, p_by, p_reason,
            coalesce(p_readers, 'both'), true)
    on conflict (name) do update
       set weight = excluded.weight,
           revision = case when excluded.revision > r.revision then excluded.revision
                           else r.revision + 1 end,
           valid_until = excluded.valid_until, by = excluded.by, reason = excluded.reason,
           readers = coalesce(p_readers, r.readers), managed = true
     where excluded.weight < r.weight or excluded.revision > r.revision;
    return found;
end
$$;
comment on function canaryd.order_route(text, integer, bigint, timestamptz, text, text, text) is
    'For canaryd: true when the order took effect.';

-- For people, also when canaryd is down, which records it as theirs when it reads the row next.
create or replace function canaryd.rollback(
    p_reason text default '', p_name text default 'unified-webhook')
returns text language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    before integer;
begin
    select weight into before from canaryd.route where name = p_name for no key update;
    if not found then
        raise exception 'there is no route "%"', p_name using hint = 'Names: ' || coalesce(
            (select string_agg(name, ', ' order by name) from canaryd.route), 'none');
    end if;
    update canaryd.route r
       set weight = 0, revision = r.revision + 1, by = canaryd.who(),
           reason = coalesce(nullif(p_reason, ''), 'no reason given')
     where r.name = p_name;
    return format('%s: from %s %% to 0 %%; nobody is on the canary when this commits', p_name,
                  trim_scale(before / 100.0));
end
$$;

create or replace function canaryd.pin(p_name text, p_user text, p_side text, p_by text default '',
                                       p_reason text default '')
returns void language sql security definer set search_path = pg_catalog, pg_temp as $$
    insert into canaryd.pins (name, user_id, side, by, reason)
    values (p_name, canaryd.user_text(p_user), p_side, coalesce(nullif(p_by, ''), canaryd.who()),
            p_reason)
    on conflict (name, user_id) do update
       set side = excluded.side, by = excluded.by, reason = excluded.reason, at = excluded.at
$$;

create or replace function canaryd.unpin(p_name text, p_user text) returns boolean
language sql security definer set search_path = pg_catalog, pg_temp as $$
    with gone as (delete from canaryd.pins
                   where name = p_name and user_id = canaryd.user_text(p_user) returning 1)
    select exists (select from gone)
$$;

-- Any rollout, any kind of id. A pin comes first, then the lease, then the bucket.
-- `p_leased` false leaves the lease out: a column cannot expire.
create or replace function canaryd.on_canary(
    p_name text, p_user text, p_leased boolean default true)
returns boolean language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    r canaryd.route;
    id text := canaryd.user_text(p_user);
    below integer;
    pinned_to text;
begin
    select * into r from canaryd.route where name = p_name;
    if not found or id is null then
        return false;
    end if;
    if r.pinned then
        select side into pinned_to from canaryd.pins where name = p_name and user_id = id;
        if found then
            return pinned_to = 'canary';
        end if;
    end if;
    if p_leased and r.valid_until <= clock_timestamp() then
        return false;
    end if;
    below := r.rest_weight;
    if r.drawn is not null and id ~ '^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$' then
        if exists (select from canaryd.drawn where name = p_name and user_id = id::uuid) then
            below := r.drawn_weight;
        end if;
    end if;
    return canaryd.bucket(p_name, id) < below;
end
$$;

revoke all on all functions in schema canaryd from public;
insert into canaryd.applied (file) values ('0002_canaryd.sql') on conflict do nothing;
