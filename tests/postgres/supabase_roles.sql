-- The roles that Supabase has and the rights that it gives them by default: whatever is made in
-- public belongs to everybody's API unless it is taken away again. `owner` stands for its role
-- `postgres`, which owns what is in public, runs migrations and is no superuser.
do $$
begin
    create role anon nologin noinherit;
    create role authenticated nologin noinherit;
    create role service_role nologin noinherit bypassrls;
    create role authenticator login noinherit;
    create role owner login createdb createrole bypassrls;
exception when duplicate_object then
    null;
end
$$;
grant anon, authenticated, service_role to authenticator, owner;
alter schema public owner to owner;
grant usage on schema public to anon, authenticated, service_role;
do $$
begin
    execute format('grant create, connect, temporary on database %I to owner', current_database());
end
$$;
alter default privileges for role owner in schema public
    grant all on tables to anon, authenticated, service_role;
alter default privileges for role owner in schema public
    grant all on functions to anon, authenticated, service_role;
alter default privileges for role owner in schema public
    grant all on sequences to anon, authenticated, service_role;
