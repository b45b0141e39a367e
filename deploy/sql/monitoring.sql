-- The plan's twelve queries, for the last day:  psql URL -f monitoring.sql
-- The views are made by 0004_monitoring.sql.

select * from canaryd.traffic_distribution;   --  1  Traffic distribution
select * from canaryd.error_rates;            --  2  Error rates
select * from canaryd.response_times;         --  3  Response times: p50, p95, p99
select * from canaryd.agent_usage;            --  4  Agent usage
select * from canaryd.success_rates;          --  5  Success rates, by hour
select * from canaryd.user_distribution;      --  6  User distribution
select * from canaryd.unified_vs_legacy;      --  7  Unified against legacy
select * from canaryd.top_errors;             --  8  Top errors
select * from canaryd.slow_requests;          --  9  Slow requests
select * from canaryd.migration_progress;     -- 10  Migration progress
select * from canaryd.rollback_history;       -- 11  Rollback history
select * from canaryd.health_check;           -- 12  Health check
